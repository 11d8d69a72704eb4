//go:build linux

package arp

import (
	"context"
	"errors"
	"fmt"

	"github.com/l2ping/l2ping/l2"
)

// A Resolver is a Table with one next hop, that of a path.
type Resolver struct {
	table *Table
	hop   *Hop
}

// Open looks the next hop up in the kernel's table and starts asking for it if
// need be. It needs CAP_NET_RAW. The calling thread's network namespace must be
// the interface's.
func Open(path *l2.Path) (*Resolver, error) {
	t, err := OpenTable(path.Interface, TableConfig{})
	if err != nil {
		return nil, err
	}
	h, err := t.Add(path)
	if err != nil {
		return nil, errors.Join(err, t.Close())
	}
	h.Snapshot()
	return &Resolver{table: t, hop: h}, nil
}

// Snapshot is Hop.Snapshot.
func (r *Resolver) Snapshot() (Neighbor, Status) { return r.hop.Snapshot() }

// Doubt is Hop.Doubt.
func (r *Resolver) Doubt() { r.hop.Doubt() }

// Resolve is Hop.Resolve.
func (r *Resolver) Resolve(ctx context.Context) (Neighbor, error) { return r.hop.Resolve(ctx) }

// Close is Table.Close.
func (r *Resolver) Close() error { return r.table.Close() }

// Decide works out the whole decision for a path, waiting for at most three
// requests where the kernel's table does not know the next hop; only then is
// CAP_NET_RAW needed. The Neighbor is not Known if nobody answered.
func Decide(ctx context.Context, path *l2.Path) (*Decision, error) {
	n, err := Lookup(path)
	if err != nil {
		return nil, err
	}
	if !n.Known() {
		r, err := Open(path)
		if err != nil {
			return nil, fmt.Errorf("ask for %s: %w", path.NextHop, err)
		}
		n, err = r.Resolve(ctx)
		if err = errors.Join(err, r.Close()); err != nil {
			return nil, err
		}
	}
	return &Decision{Path: path, Neighbor: n}, nil
}
