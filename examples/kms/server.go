package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"sonic-netservices/examples/kms/keylog"
)

// maxClient is the longest name of a client, in bytes.
const maxClient = 256

// Handler answers:
//
//	GET, POST /key?client=NAME   a new key (keylog.Answer)
//	GET       /pubkey            the public key, PEM
//	GET       /healthz           200 without side effects
func Handler(issuer *Issuer) http.Handler {
	mux := http.NewServeMux()
	key := func(w http.ResponseWriter, r *http.Request) {
		client := r.URL.Query().Get("client")
		if len(client) > maxClient {
			http.Error(w, fmt.Sprintf("client: longer than %d bytes", maxClient), http.StatusBadRequest)
			return
		}
		answer, err := issuer.Issue(client)
		if err != nil {
			slog.Error("issue key", "err", err)
			http.Error(w, "the key could not be recorded", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		json.NewEncoder(w).Encode(answer) // an error is the client's: it is gone
	}
	mux.HandleFunc("GET /key", key)
	mux.HandleFunc("POST /key", key)
	mux.HandleFunc("GET /pubkey", func(w http.ResponseWriter, r *http.Request) {
		text, err := keylog.FormatPublic(issuer.Public())
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/x-pem-file")
		w.Write(text)
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "ok")
	})
	return mux
}

// grace is how long open requests may go on after SIGTERM. Docker sends SIGKILL after 10 s.
const grace = 5 * time.Second

// Serve answers on ln until ctx ends, then lets open requests finish. It closes ln.
//
// Idle connections have no time-out: a service restored on another switch finds another monotonic clock, and every
// pending deadline would fire at once and close the connections the move has kept.
func Serve(ctx context.Context, ln net.Listener, handler http.Handler) error {
	srv := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve %s: %w", ln.Addr(), err)
	case <-ctx.Done():
	}
	end, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	if err := srv.Shutdown(end); err != nil {
		return fmt.Errorf("finish open requests: %w", errors.Join(err, srv.Close()))
	}
	return nil
}
