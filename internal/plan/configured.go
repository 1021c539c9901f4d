package plan

import (
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// configured is a module of the configuration, with what it sets.
type configured struct {
	Resources []struct {
		Address      string                     `json:"address"`
		Expressions  map[string]json.RawMessage `json:"expressions"`
		Provisioners []struct {
			Type string `json:"type"`
		} `json:"provisioners"`
	} `json:"resources"`
	Calls map[string]struct {
		Module configured `json:"module"`
	} `json:"module_calls"`
}

// instanceKey is the key of an instance in the address of a module.
var instanceKey = regexp.MustCompile(`\[(?:\d+|"(?:[^"\\]|\\.)*")\]`)

// Block is what the configuration says of a resource.
type Block struct {
	// Set has the attributes that are set; nil where the plan does not hold the configuration of the resource. Blocks
	// that are dynamic are not among them.
	Set map[string]bool
	// Provisioners are the types of its provisioners. The plan does not say whether they run when the resource is
	// created or when it is destroyed.
	Provisioners []string
}

// Blocks returns what finds the block of a resource in the configuration.
func (p *Plan) Blocks() func(*Resource) Block {
	var root struct {
		Module configured `json:"root_module"`
	}
	blocks := map[string]Block{}
	if json.Unmarshal(p.Configuration, &root) == nil {
		root.Module.collect("", blocks)
	}
	return func(r *Resource) Block { return blocks[r.block()] }
}

// block returns the address of the block of a resource: without keys.
func (r *Resource) block() string {
	address := r.Type + "." + r.Name
	if r.ModuleAddress != "" {
		address = instanceKey.ReplaceAllString(r.ModuleAddress, "") + "." + address
	}
	return address
}

// collect adds the resources of the module, by their addresses without keys.
func (c configured) collect(prefix string, blocks map[string]Block) {
	for _, r := range c.Resources {
		b := Block{Set: map[string]bool{}}
		for name := range r.Expressions {
			b.Set[name] = true
		}
		for _, p := range r.Provisioners {
			b.Provisioners = append(b.Provisioners, p.Type)
		}
		blocks[prefix+r.Address] = b
	}
	for name, call := range c.Calls {
		call.Module.collect(prefix+"module."+name+".", blocks)
	}
}

// ProvidersOfModules returns the modules, other than the root, with a provider block of this source, sorted. source is
// the end of the address of a provider, such as "jitaccess/jit".
func (p *Plan) ProvidersOfModules(source string) []string {
	var configuration struct {
		Providers map[string]struct {
			Name   string `json:"full_name"`
			Module string `json:"module_address"`
		} `json:"provider_config"`
	}
	modules := map[string]bool{}
	if json.Unmarshal(p.Configuration, &configuration) == nil {
		for _, provider := range configuration.Providers {
			if provider.Module != "" && strings.HasSuffix(provider.Name, "/"+source) {
				modules[provider.Module] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(modules))
}
