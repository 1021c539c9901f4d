package kubernetes

import (
	"context"
	"encoding/json"
	"path"
	"slices"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"golang.org/x/sync/errgroup"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// fewObjects is how many objects of one collection are read one by one. More are listed.
const fewObjects = 8

// onlyMetadata asks for the metadata of objects without the rest.
// https://kubernetes.io/docs/reference/using-api/api-concepts/#receiving-resources-as-metadata
const onlyMetadata = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"

// onlyMetadataOfAll is onlyMetadata for a list.
const onlyMetadataOfAll = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"

// facts are of an object that a grant depends on; zero if they are not known, because the operator may not read it.
type facts struct {
	uid    string
	made   time.Time
	gone   bool  // there is no such object
	unread error // why it could not be read
}

// factsOf returns the facts of an object that is there.
func factsOf(o metav1.PartialObjectMetadata) facts {
	return facts{uid: string(o.UID), made: o.CreationTimestamp.Time}
}

// after reports whether the object was made after a grant began, by clocks that may differ.
func (f facts) after(m jit.Marker) bool { return f.made.After(m.Window.Start.Add(jit.MaxSkew)) }

// facts reads the objects at paths of the API, each once. It lists a collection of which it needs many, unless the
// operator may not list it.
func (at place) facts(ctx context.Context, paths map[string]bool) map[string]facts {
	collections := map[string][]string{}
	for p := range paths {
		collections[path.Dir(p)] = append(collections[path.Dir(p)], p)
	}
	all := map[string]facts{}
	var mu sync.Mutex
	var reads errgroup.Group
	reads.SetLimit(parallel)
	keep := func(path string, f facts) {
		mu.Lock()
		defer mu.Unlock()
		all[path] = f
	}
	for collection, wanted := range collections {
		if len(wanted) > fewObjects {
			wanted = at.listed(ctx, collection, wanted, keep)
		}
		for _, path := range wanted {
			reads.Go(func() error {
				keep(path, at.read(ctx, path))
				return nil
			})
		}
	}
	_ = reads.Wait() // why one was not read is in its facts
	return all
}

// read reads one object.
func (at place) read(ctx context.Context, path string) facts {
	object := metav1.PartialObjectMetadata{}
	raw, err := at.api.Get().AbsPath(path).SetHeader("Accept", onlyMetadata).DoRaw(ctx)
	switch {
	case apierrors.IsNotFound(err):
		return facts{gone: true}
	case apierrors.IsForbidden(err):
		return facts{}
	case err == nil:
		err = json.Unmarshal(raw, &object)
	}
	if err != nil {
		return facts{unread: at.explain(ctx, "read "+path, err)}
	}
	return factsOf(object)
}

// listed lists a collection, and keeps the facts of the wanted objects in it. It returns those that remain to be read
// one by one: all, if the operator may not list, and what the list lacks. A proxy may list only what the caller may see,
// so that is no proof that an object is gone.
func (at place) listed(ctx context.Context, collection string, wanted []string, keep func(string, facts)) []string {
	there := map[string]facts{}
	err := pages("", func() { clear(there) }, func(options *metav1.ListOptions) (string, error) {
		found := metav1.PartialObjectMetadataList{}
		raw, err := at.api.Get().AbsPath(collection).VersionedParams(options, at.parameters).SetHeader("Accept",
			onlyMetadataOfAll).DoRaw(ctx)
		if err == nil {
			err = json.Unmarshal(raw, &found)
		}
		for _, o := range found.Items {
			there[collection+"/"+o.Name] = factsOf(o)
		}
		return found.Continue, err
	})
	if apierrors.IsForbidden(err) {
		return wanted
	}
	if err != nil {
		err = at.explain(ctx, "list "+collection, err)
	}
	return slices.DeleteFunc(slices.Clone(wanted), func(path string) bool {
		f, known := there[path]
		if known || err != nil {
			keep(path, facts{uid: f.uid, made: f.made, unread: err})
		}
		return known || err != nil
	})
}

// pages reads a list page by page with read, which returns where the next page begins. If the version of the pages has
// expired on the server, it calls again and reads everything as one page. Without a resourceVersion a list shows all
// writes that were made before it (https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions).
func pages(selector string, again func(), read func(*metav1.ListOptions) (next string, err error)) error {
	options := &metav1.ListOptions{LabelSelector: selector, Limit: pageSize}
	for {
		next, err := read(options)
		if (apierrors.IsResourceExpired(err) || apierrors.IsGone(err)) && options.Continue != "" {
			again()
			options = &metav1.ListOptions{LabelSelector: selector}
			continue
		}
		if options.Continue = next; err != nil || next == "" {
			return err
		}
	}
}
