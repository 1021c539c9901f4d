package status

import (
	"cmp"
	"net"
	"slices"
	"sync"
)

// maxConnections is how many connections the server holds open. The sweeper in the same process needs file descriptors
// for its own work.
const maxConnections = 64

// limited is a listener that holds a limited number of connections. It never refuses a new one: it closes the oldest
// connection of the remote host that has the most. A host that hoards connections harms only itself.
type limited struct {
	net.Listener
	most int

	mu   sync.Mutex
	open []*connection // the oldest first
}

// connection is a connection that its listener counts.
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
	remote := inner.RemoteAddr().String()
	if host, _, err := net.SplitHostPort(remote); err == nil {
		remote = host
	}
	c := &connection{Conn: inner, remote: remote, from: l}
	if old := l.add(c); old != nil {
		_ = old.Close() // its handler sees the error
	}
	return c, nil
}

// add counts a connection and returns the one to close for it; nil while there is room.
func (l *limited) add(c *connection) (old *connection) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.open) >= l.most {
		count := map[string]int{c.remote: 1}
		for _, other := range l.open {
			count[other.remote]++
		}
		most := func(a, b *connection) int { return cmp.Compare(count[a.remote], count[b.remote]) }
		old = slices.MaxFunc(l.open, most)
	}
	l.open = append(l.open, c)
	return old
}

// Close closes the connection and stops counting it.
func (c *connection) Close() error {
	c.from.mu.Lock()
	c.from.open = slices.DeleteFunc(c.from.open, func(other *connection) bool { return other == c })
	c.from.mu.Unlock()
	return c.Conn.Close()
}
