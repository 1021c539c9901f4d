package provider

import (
	"sync"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// successorKey is where the plan notes, for the delete, the id of the grant that is created in the place of the one destroyed. Core
// hands the planned private state of a replacement's create half to its delete. The plan of a destroy notes it where the same
// plan creates the grant under another address.
const successorKey = "successor"

// handovers knows which grants one run of Terraform both destroys and creates: a replacement, a renamed key of for_each, a shifted
// count. The person keeps the access then, whichever half comes first. Core plans and applies the halves in any order, in different
// processes, so a delete learns of its create by the note in its plan or by the create's own plan, which core repeats during the
// apply. A delete that came too early for both is taken back by the create. The zero value is ready and safe for concurrent use.
type handovers struct {
	mu  sync.Mutex
	all map[jit.ID]*handover
}

// handover is what this run knows of one grant. It is locked while the grant is created or destroyed.
type handover struct {
	sync.Mutex
	// wanted: the run creates the grant; failed: its last attempt failed, so a resource that is destroyed leaves nothing to it.
	wanted, failed bool
	// ended: the run destroyed a resource and ended the access.
	ended bool
	// left is what a destroyed resource remembered of the grant when the run left its access to the create; the zero Grant if it did not.
	left jit.Grant
}

// of returns what is known of a grant.
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

// want notes that the run creates the grant, and returns what is known of it, locked.
func (h *handovers) want(id jit.ID) *handover {
	one := h.of(id)
	one.Lock()
	one.wanted = true
	return one
}

// wants reports whether the run creates the grant, as far as it is planned.
func (h *handovers) wants(id jit.ID) bool {
	one := h.of(id)
	one.Lock()
	defer one.Unlock()
	return one.wanted
}
