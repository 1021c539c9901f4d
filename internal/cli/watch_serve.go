package cli

import (
	"cmp"
	"context"
	"log/slog"
	"net/netip"

	"github.com/jitaccess/terraform-provider-jit/internal/config"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/status"
	"github.com/jitaccess/terraform-provider-jit/internal/sweeper"
)

// accessOf returns the listen address, which the flag overrides, and who may read the page. Without an address the
// daemon does not listen.
func accessOf(rt *config.Runtime, listen string) (status.Access, error) {
	a := status.Access{Listen: cmp.Or(listen, rt.Listen), Token: rt.ListenToken}
	if p := rt.ListenProxy; p != nil {
		a.ProxyHeader = p.Header
		for _, text := range p.From {
			prefix, err := netip.ParsePrefix(text)
			if err != nil {
				return a, jit.Invalid("listen_proxy.from", `write for example from = ["10.0.0.7/32"]`,
					"%q is not an address range", text)
			}
			a.Proxies = append(a.Proxies, prefix)
		}
		if a.ProxyHeader == "" {
			return a, jit.Invalid("listen_proxy.header", `write for example header = "X-Forwarded-User"`,
				"the header is empty")
		}
	}
	if a.Listen == "" {
		return a, nil
	}
	_, err := a.Check()
	return a, err
}

// serve answers HTTP until ctx ends. If it cannot go on, it stops the daemon. The channel is closed when it has ended.
func (p *program) serve(
	ctx context.Context, stop context.CancelCauseFunc, rt *config.Runtime, w *sweeper.Watcher,
	access status.Access, metrics *status.Metrics, log *slog.Logger,
) (ended chan struct{}, err error) {
	source := status.Source{Ledger: rt.Ledger, OutOfReach: w.OutOfReach, Now: p.Now, State: w.State}
	metrics.Watch(source)
	server := &status.Server{Access: access, Source: source, Metrics: metrics, Interval: w.Interval, Log: log}
	listener, err := server.Listen(ctx)
	if err != nil {
		return nil, err
	}
	log.Info("listening", "address", listener.Addr().String())
	ended = make(chan struct{})
	go func() {
		defer close(ended)
		if err := server.Serve(ctx, listener); err != nil {
			stop(err)
		}
	}()
	return ended, nil
}
