// Kvserver is a small key-value store over HTTP that loses nothing it has answered for:
//
//	kvserver -dir data -listen 127.0.0.1:8080
//	curl -X PUT --data-binary green 127.0.0.1:8080/kv/colour
//	curl 127.0.0.1:8080/kv/colour
//	curl -X DELETE 127.0.0.1:8080/kv/colour
//	curl 127.0.0.1:8080/metrics
//
// Kill it at any moment and start it again: every change that was answered with 204 is there. Its test does just that.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"wal"
)

// maxValue is the longest value that is accepted.
const maxValue = 1 << 20

func main() {
	dir := flag.String("dir", "data", "where the data is")
	listen := flag.String("listen", "127.0.0.1:8080", "where to listen")
	every := flag.Int("snapshot-every", 10000, "records between snapshots")
	flag.Parse()
	if err := serve(*dir, *listen, *every); err != nil {
		log.Fatal(err)
	}
}

func serve(dir, listen string, every int) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	store, err := openStore(dir)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return errors.Join(err, store.close())
	}
	fmt.Println("listening on", listener.Addr())

	failed := make(chan error, 1)
	server := &http.Server{Handler: handler(store, every, failed), ReadHeaderTimeout: 10 * time.Second}
	go func() { fail(failed, server.Serve(listener)) }()
	select {
	case err = <-failed:
	case <-ctx.Done():
		grace, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		err = server.Shutdown(grace)
	}
	return errors.Join(err, store.close())
}

// fail ends the server. After a failed write or sync only a new opening knows what is durable.
func fail(failed chan<- error, err error) {
	select {
	case failed <- err:
	default:
	}
}

func handler(s *store, every int, failed chan<- error) http.Handler {
	mux := http.NewServeMux()
	write := func(w http.ResponseWriter, op wal.Op, key string, value []byte) {
		seq, err := s.write(op, key, value)
		switch {
		case errors.Is(err, wal.ErrNoSpace):
			http.Error(w, err.Error(), http.StatusInsufficientStorage)
			return
		case err != nil:
			http.Error(w, err.Error(), http.StatusInternalServerError)
			if errors.Is(err, wal.ErrFailed) {
				fail(failed, err)
			}
			return
		}
		w.Header().Set("Wal-Seq", fmt.Sprint(seq))
		w.WriteHeader(http.StatusNoContent)
		if s.isSnapshotDue(every) {
			go func() {
				if err := s.snapshot(); err != nil && !errors.Is(err, wal.ErrClosed) {
					fail(failed, err)
				}
			}()
		}
	}
	mux.HandleFunc("PUT /kv/{key}", func(w http.ResponseWriter, r *http.Request) {
		value, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxValue))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		write(w, wal.OpPut, r.PathValue("key"), value)
	})
	mux.HandleFunc("DELETE /kv/{key}", func(w http.ResponseWriter, r *http.Request) {
		write(w, wal.OpDelete, r.PathValue("key"), nil)
	})
	mux.HandleFunc("GET /kv/{key}", func(w http.ResponseWriter, r *http.Request) {
		value, ok := s.read(r.PathValue("key"))
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/octet-stream")
		_, _ = w.Write(value)
	})
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		for m := range s.log.Collect() {
			fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s %s\n%s %v\n", m.Name, m.Help, m.Name, m.Type, m.Name, m.Value)
		}
	})
	return mux
}
