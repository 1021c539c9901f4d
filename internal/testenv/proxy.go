package testenv

import (
	"net"
	"sync"
	"testing"
	"time"
)

// Fault is what a [Proxy] does to connections.
type Fault int

const (
	// Sound forwards everything.
	Sound Fault = iota
	// Slow delays every piece by [ProxyDelay].
	Slow
	// Refusing resets new and open connections at once.
	Refusing
	// Cutting resets a connection in the middle of an answer, after the server has carried out the request.
	Cutting
	// Silent forwards nothing and keeps connections open. Data sent meanwhile arrives afterwards.
	Silent
)

// ProxyDelay is the delay of a slow proxy.
const ProxyDelay = time.Second

// Proxy is between clients and a TCP server and imitates a bad network. It is safe for concurrent use and ends with the
// test.
type Proxy struct {
	// Addr is the listen address, on loopback.
	Addr string

	upstream string
	mu       sync.Mutex
	fault    Fault
	changed  chan struct{} // closed when another fault is set
	open     map[net.Conn]bool
	over     bool
}

// NewProxy starts a proxy for the server that listens on upstream.
func NewProxy(t testing.TB, upstream string) *Proxy {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{Addr: listener.Addr().String(), upstream: upstream, changed: make(chan struct{}),
		open: map[net.Conn]bool{}}
	var work sync.WaitGroup
	work.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			work.Go(func() { p.connect(client) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		p.mu.Lock()
		p.over = true
		p.mu.Unlock()
		p.Set(Refusing)
		work.Wait()
	})
	return p
}

// Set changes the proxy's fault.
func (p *Proxy) Set(f Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fault = f; f == Refusing {
		for c := range p.open {
			reset(c)
		}
	}
	close(p.changed)
	p.changed = make(chan struct{})
}

// Forward resets the open connections and forwards new ones to another server.
func (p *Proxy) Forward(upstream string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.upstream = upstream
	for c := range p.open {
		reset(c)
	}
}

// connect carries one connection until either side ends it.
func (p *Proxy) connect(client net.Conn) {
	defer reset(client)
	p.mu.Lock()
	upstream := p.upstream
	p.mu.Unlock()
	server, err := (&net.Dialer{Timeout: time.Minute}).Dial("tcp", upstream)
	if err != nil {
		return
	}
	defer reset(server)
	p.mu.Lock()
	if p.over || p.fault == Refusing {
		p.mu.Unlock()
		return
	}
	p.open[client], p.open[server] = true, true
	p.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { p.carry(server, client, false) })
	both.Go(func() { p.carry(client, server, true) })
	both.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.open, client)
	delete(p.open, server)
}

// carry forwards the data of one side until it ends or is cut. Then it closes both.
func (p *Proxy) carry(to, from net.Conn, answers bool) {
	defer func() { _ = to.Close(); _ = from.Close() }()
	buffer := make([]byte, 16<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			rest := buffer[:n]
			cut := p.hold() == Cutting && answers
			if cut {
				rest = rest[:n/2]
			}
			if _, err := to.Write(rest); err != nil {
				return
			}
			if cut {
				reset(to)
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// hold waits until a piece may be forwarded, and returns the fault at that time.
func (p *Proxy) hold() Fault {
	late := false
	for {
		p.mu.Lock()
		fault, changed := p.fault, p.changed
		p.mu.Unlock()
		switch {
		case fault == Silent:
			<-changed
		case fault == Slow && !late:
			late = true
			select {
			case <-changed:
			case <-time.After(ProxyDelay):
			}
		default:
			return fault
		}
	}
}

// reset closes a connection so that the other side does not see an orderly end.
func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}
