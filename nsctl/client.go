package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sonic-netservices/api"
	"sonic-netservices/internal/daemon"
	"sonic-netservices/internal/managers"
	"sonic-netservices/internal/pki"
)

// connect gives a client of the manager that leads. The connections live as long as nsctl.
func (c *cli) connect() (api.ManagerClient, error) {
	conn, err := c.dial()
	if err != nil {
		return nil, err
	}
	return api.NewManagerClient(conn), nil
}

func (c *cli) dial() (*managers.Conn, error) {
	config, err := loadConfig(c.config)
	if err != nil {
		return nil, refused(err)
	}
	at, err := config.managers()
	if err != nil {
		return nil, refused(err)
	}
	id, err := c.identity(config)
	if err != nil {
		return nil, err
	}
	return managers.New(id, func() []managers.At { return at }), nil
}

// overlay gives a client of the supernode.
func (c *cli) overlay() (api.OverlayClient, error) {
	config, err := loadConfig(c.config)
	if err == nil {
		err = config.need("supernode", config.Supernode, config.SupernodeName)
	}
	if err != nil {
		return nil, refused(err)
	}
	id, err := c.identity(config)
	if err != nil {
		return nil, err
	}
	conn, err := daemon.Dial(config.Supernode, id.Client(config.SupernodeName, pki.Node))
	if err != nil {
		return nil, fmt.Errorf("supernode %s: %w", config.Supernode, err)
	}
	return api.NewOverlayClient(conn), nil
}

// identity enters the network namespace from which the programs are reached, and gives who calls them.
func (c *cli) identity(config config) (*pki.Identity, error) {
	if config.NetNS != "" {
		if err := enter(config.NetNS); err != nil {
			return nil, err
		}
	}
	id, err := pki.Load(config.PKI, pki.Operator)
	if errors.Is(err, fs.ErrNotExist) {
		if viewer, err := pki.Load(config.PKI, pki.Viewer); err == nil {
			id = viewer
		}
	}
	if id == nil {
		return nil, refused(err)
	}
	return id, nil
}

// receiver is any stream of events.
type receiver interface {
	Recv() (*api.Event, error)
}

// follow reads a stream of events to its end and gives the last one of each operation. An operation that did not end
// well is an error.
func follow(ctx context.Context, stream receiver, each func(*api.Event)) ([]*api.Event, error) {
	var done []*api.Event
	for {
		e, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil && ctx.Err() != nil {
			return done, errors.New("interrupted; what was begun goes on, see nsctl services")
		}
		if err != nil {
			return done, err
		}
		if e.Done {
			done = append(done, e)
		} else {
			each(e)
		}
	}
	for _, e := range done {
		switch {
		case e.Outcome != api.Outcome_COMMITTED:
			return done, fmt.Errorf("operation %s was taken back: %s", e.Op, e.Error)
		case e.Error != "": // of a lazy move
			return done, fmt.Errorf("operation %s is done, and not whole: %s", e.Op, e.Error)
		}
	}
	if len(done) == 0 {
		return nil, status.Error(codes.Unavailable, "the manager ended its report without an outcome")
	}
	return done, nil
}
