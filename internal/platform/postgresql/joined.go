package postgresql

import "strings"

// maxList caps the roles in the list of one statement.
const maxList = 500

// joined returns the SQL of all units, with one statement in place of those that differ in one role only. The statements
// of each change keep their order, so it may run wherever all of them take effect together or not at all.
func joined(units []unit) []string {
	var all []string
	for queues := queued(units); len(queues) > 0; {
		var lists []*list
		byText := map[statement]*list{}
		rest := queues[:0]
		for _, queue := range queues {
			for len(queue) > 0 && queue[0].role == "" {
				all = append(all, queue[0].sql())
				queue = queue[1:]
			}
			if len(queue) == 0 {
				continue
			}
			text := statement{before: queue[0].before, after: queue[0].after}
			l := byText[text]
			if l == nil || len(l.roles) == maxList {
				l = &list{statement: text}
				byText[text], lists = l, append(lists, l)
			}
			l.roles = append(l.roles, quote(queue[0].role))
			rest = append(rest, queue[1:])
		}
		for _, l := range lists {
			all = append(all, l.before+strings.Join(l.roles, ", ")+l.after)
		}
		queues = rest
	}
	return all
}

// list is a statement with the roles of its list, quoted.
type list struct {
	statement
	roles []string
}

// queued returns the statements of each change, in the order of the changes.
func queued(units []unit) [][]statement {
	var queues [][]statement
	last := -1
	for _, u := range units {
		if u.change != last {
			queues, last = append(queues, nil), u.change
		}
		at := len(queues) - 1
		queues[at] = append(queues[at], u.statements...)
	}
	return queues
}
