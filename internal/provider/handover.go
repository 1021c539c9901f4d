package provider

import (
	"sync"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// successorKey holds the id of the grant that the plan creates in place of the destroyed one, for the delete. Core
// hands the planned private state of a replacement's create half to its delete. The plan of a destroy notes it if the
// same plan creates the grant under another address.
const successorKey = "successor"

// nextKey holds the request of the create half of a replacement, if people have to approve it. It reaches the delete as
// the successor does.
const nextKey = "next_request"

// handovers knows which grants one run of Terraform both destroys and creates: a replacement, a renamed for_each key, a
// shifted count. The person keeps the access, whichever half comes first. Core plans and applies the halves in any
// order and in different processes, so a delete learns of its create from the note in its plan, or from the create's
// own plan, which core repeats during the apply. A create takes back a delete that came too early for both. The zero
// value is ready and safe for concurrent use.
type handovers struct {
	mu  sync.Mutex
	all map[jit.ID]*handover
}

// handover is one grant in this run. It is locked while the grant is created or destroyed.
type handover struct {
	sync.Mutex
	// wanted: the run creates the grant. failed: its last attempt failed, so a destroyed resource leaves nothing to it.
	wanted, failed bool
	// ended: the run destroyed a resource and ended the access.
	ended bool
	// left is the grant as a destroyed resource remembered it when it left the access to the create; else the zero
	// Grant.
	left jit.Grant
}

// of returns the handover of a grant.
func (h *handovers) of(id jit.ID) *handover {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.all == nil {
		h.all = map[jit.ID]*handover{}
	}
	if h.all[id] == nil {
		h.all[id] = &handover{}
	}
	return h.all[id]
}

// want stores that the run creates the grant. It returns the locked handover.
func (h *handovers) want(id jit.ID) *handover {
	one := h.of(id)
	one.Lock()
	one.wanted = true
	return one
}

// wants reports whether a create of the grant has been planned.
func (h *handovers) wants(id jit.ID) bool {
	one := h.of(id)
	one.Lock()
	defer one.Unlock()
	return one.wanted
}

// goesOn reports whether the create of this run adopts the grant of a resource that is destroyed. noted says that the
// plan of the destroy announced the create. The caller holds the lock.
func (h *handover) goesOn(noted bool) bool { return (h.wanted || noted) && !h.failed }
