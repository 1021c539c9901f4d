package hoop

import (
	"sync"
	"time"
)

// askAgain is how long an answer is reused.
const askAgain = 10 * time.Second

// recent keeps answers about each connection for a moment, so that a plan of many grants asks once. An Apply asks anew.
// The zero value is ready.
type recent[T any] struct {
	mu    sync.Mutex
	known map[string]*answer[T]
}

type answer[T any] struct {
	mu    sync.Mutex
	until time.Time
	value T
}

// get returns the recent answer about name, or asks. It keeps no errors.
func (r *recent[T]) get(name string, now time.Time, ask func() (T, error)) (T, error) {
	r.mu.Lock()
	if r.known == nil {
		r.known = map[string]*answer[T]{}
	}
	a := r.known[name]
	if a == nil {
		a = &answer[T]{}
		r.known[name] = a
	}
	r.mu.Unlock()
	a.mu.Lock()
	defer a.mu.Unlock()
	if now.Before(a.until) {
		return a.value, nil
	}
	value, err := ask()
	if err == nil {
		a.value, a.until = value, now.Add(askAgain)
	}
	return value, err
}
