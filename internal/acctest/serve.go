package acctest

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6/tf6server"

	"github.com/jitaccess/terraform-provider-jit/internal/config"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/provider"
)

// server is the provider inside the test process.
type server struct {
	// reattach is the value of TF_REATTACH_PROVIDERS.
	reattach string

	mu       sync.Mutex
	runtimes []*config.Runtime
	// run is the id of the run of the command line that began last.
	run string
}

// begin begins another run.
func (s *server) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.run = rand.Text()
}

// serve starts the provider for one workspace. It ends with the test.
func serve(t testing.TB, w *World) *server {
	t.Helper()
	provider.Quiet()
	s := &server{}
	factory := func() tfprotov6.ProviderServer {
		return provider.NewServer("test",
			func(ctx context.Context, settings config.Settings) (*config.Runtime, error) {
				return s.open(ctx, w, settings)
			})
	}
	ctx, stop := context.WithCancel(context.Background())
	reattach, closed := make(chan *plugin.ReattachConfig), make(chan struct{})
	address := w.cli.Registry() + "/jitaccess/jit"
	go func() {
		err := tf6server.Serve(address, factory, tf6server.WithDebug(ctx, reattach, closed),
			tf6server.WithGoPluginLogger(hclog.NewNullLogger()), tf6server.WithoutLogStderrOverride())
		if err != nil {
			t.Errorf("serve the provider: %v", err)
		}
	}()
	t.Cleanup(func() {
		stop()
		<-closed
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, r := range s.runtimes {
			_ = r.Close() // the test is over
		}
	})
	select {
	case c := <-reattach:
		text, err := json.Marshal(map[string]any{address: map[string]any{
			"Protocol": c.Protocol, "ProtocolVersion": c.ProtocolVersion, "Pid": os.Getpid(), "Test": true,
			"Addr": map[string]string{"Network": c.Addr.Network(), "String": c.Addr.String()},
		}})
		if err != nil {
			t.Fatal(err)
		}
		s.reattach = string(text)
	case <-time.After(30 * time.Second):
		t.Fatal("the provider did not start")
	}
	return s
}

// open opens a runtime as the released provider does, with the workspace's clock, its
// calls counted and a relative ledger in its directory.
func (s *server) open(ctx context.Context, w *World, settings config.Settings) (*config.Runtime, error) {
	settings = settings.WithDefaults()
	if path, ok := strings.CutPrefix(settings.Ledger, "sqlite://"); ok && !filepath.IsAbs(path) {
		settings.Ledger = "sqlite://" + filepath.ToSlash(w.Path(path))
	}
	if !filepath.IsAbs(settings.ApprovalsDir) {
		settings.ApprovalsDir = w.Path(settings.ApprovalsDir)
	}
	now := w.Clock.Now
	if w.o.RealTime {
		now = time.Now
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	runtime, err := config.Open(ctx, settings, config.Options{
		Now: now, Source: jit.FromTerraform, Run: s.run, Keep: config.KeepForPlan,
		Wrap: func(_ string, p jit.Platform) jit.Platform {
			if w.o.Platform != nil {
				w.o.Platform(p)
			}
			return &counted{Platform: p, calls: w.Calls}
		},
	})
	if err != nil {
		return nil, err
	}
	s.runtimes = append(s.runtimes, runtime)
	return runtime, nil
}

// Runtime returns the runtime that the served provider opened last. It works on the same ledger and targets, as the jit
// command does.
func (w *World) Runtime() *config.Runtime {
	w.t.Helper()
	w.served.mu.Lock()
	defer w.served.mu.Unlock()
	if len(w.served.runtimes) == 0 {
		w.t.Fatal("the provider was not configured yet")
	}
	return w.served.runtimes[len(w.served.runtimes)-1]
}
