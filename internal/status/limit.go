package status

import (
	"net"
	"slices"
	"sync"
)

// maxConnections is how many connections the server holds open. The sweeper needs files of the same process for its own work.
const maxConnections = 64

// limited is a listener that holds a bounded number of connections. It never refuses a new one: it closes the oldest of the
// remote host that has the most. So a host that hoards connections costs itself its own, and locks nobody out.
type limited struct {
	net.Listener
	most int

	mu   sync.Mutex
	open []*connection // in the order in which they came
}

// connection is one that its listener counts.
type connection struct {
	net.Conn
	remote string
	from   *limited
}

// Accept returns the next connection.
func (l *limited) Accept() (net.Conn, error) {
	inner, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &connection{Conn: inner, remote: host(inner.RemoteAddr()), from: l}
	if old := l.add(c); old != nil {
		_ = old.Close() // whoever serves it sees the error
	}
	return c, nil
}

// add counts a connection and returns the one that has to make room for it; nil while there is room.
func (l *limited) add(c *connection) (old *connection) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.open) >= l.most {
		of := map[string]int{c.remote: 1}
		for _, other := range l.open {
			of[other.remote]++
		}
		for _, other := range l.open {
			if old == nil || of[other.remote] > of[old.remote] {
				old = other
			}
		}
	}
	l.open = append(l.open, c)
	return old
}

// Close closes the connection and no longer counts it.
func (c *connection) Close() error {
	c.from.mu.Lock()
	c.from.open = slices.DeleteFunc(c.from.open, func(other *connection) bool { return other == c })
	c.from.mu.Unlock()
	return c.Conn.Close()
}

// host is the address without its port.
func host(a net.Addr) string {
	name, _, err := net.SplitHostPort(a.String())
	if err != nil {
		return a.String()
	}
	return name
}
