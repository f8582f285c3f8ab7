package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The test's own program is the server if it is told so.
func TestMain(m *testing.M) {
	if dir := os.Getenv("KVSERVER_DIR"); dir != "" {
		if err := serve(dir, "127.0.0.1:0", 200); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

type process struct {
	command *exec.Cmd
	url     string
	said    *bytes.Buffer
}

// start starts a server; with patience 0 it waits until it listens, else it kills it after so long.
func start(t *testing.T, dir string, patience time.Duration) *process {
	t.Helper()
	command := exec.Command(os.Args[0])
	command.Env = append(os.Environ(), "KVSERVER_DIR="+dir)
	p := &process{command: command, said: &bytes.Buffer{}}
	command.Stderr = p.said
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = command.Process.Kill(); _ = command.Wait() })
	if patience > 0 {
		time.Sleep(patience)
		p.kill()
		return nil
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		_ = command.Wait()
		t.Fatalf("the server does not start: %s", p.said)
	}
	p.url = "http://" + strings.TrimSpace(strings.TrimPrefix(line, "listening on ")) + "/kv/"
	return p
}

func (p *process) kill() {
	_ = p.command.Process.Kill()
	_ = p.command.Wait()
}

const absent = -1

// A key is written by one goroutine: counters that rise, now and then a deletion.
type key struct {
	name string
	next int
	// acknowledged was answered; tried, if it differs, was asked for and not answered.
	acknowledged, tried int
}

// hammer writes until the server is gone.
func (k *key) hammer(client *http.Client, url string) {
	for {
		var request *http.Request
		if k.next++; k.next%7 == 0 {
			k.tried = absent
			request, _ = http.NewRequest(http.MethodDelete, url+k.name, nil)
		} else {
			k.tried = k.next
			request, _ = http.NewRequest(http.MethodPut, url+k.name, strings.NewReader(strconv.Itoa(k.next)))
		}
		response, err := client.Do(request)
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, response.Body)
		response.Body.Close()
		if response.StatusCode != http.StatusNoContent {
			return
		}
		k.acknowledged = k.tried
	}
}

// verify compares what is there with what was answered, and takes it as known from here on.
func (k *key) verify(t *testing.T, client *http.Client, url string) {
	response, err := client.Get(url + k.name)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	found := absent
	if response.StatusCode == http.StatusOK {
		if found, err = strconv.Atoi(string(body)); err != nil {
			t.Fatalf("%s is %q", k.name, body)
		}
	}
	if found != k.acknowledged && found != k.tried {
		t.Fatalf("%s is %d; answered was %d, tried %d", k.name, found, k.acknowledged, k.tried)
	}
	k.acknowledged, k.tried = found, found
}

// The server is killed while it serves and while it starts, and has each time what it has answered for.
func TestWhatWasAnsweredSurvivesKill9(t *testing.T) {
	dir := t.TempDir()
	rounds := 12
	if testing.Short() {
		rounds = 4
	}
	keys := make([]*key, 32)
	for at := range keys {
		keys[at] = &key{name: fmt.Sprintf("key%d", at), acknowledged: absent, tried: absent}
	}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: len(keys)}}
	total := 0
	for round := range rounds {
		if round%3 == 2 {
			start(t, dir, time.Duration(1+rand.IntN(40))*time.Millisecond)
		}
		server := start(t, dir, 0)
		for _, k := range keys {
			k.verify(t, client, server.url)
		}
		var writers sync.WaitGroup
		for _, k := range keys {
			writers.Add(1)
			go func() {
				defer writers.Done()
				k.hammer(client, server.url)
			}()
		}
		time.Sleep(time.Duration(10+rand.IntN(250)) * time.Millisecond)
		server.kill()
		writers.Wait()
		client.CloseIdleConnections()
		if server.said.Len() > 0 {
			t.Fatalf("the server said: %s", server.said)
		}
	}
	for _, k := range keys {
		total += k.next
	}
	t.Logf("%d writes, %d kills", total, rounds+rounds/3)

	// A server that is asked to end, ends well.
	server := start(t, dir, 0)
	for _, k := range keys {
		k.verify(t, client, server.url)
	}
	if err := server.command.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := server.command.Wait(); err != nil {
		t.Fatalf("%v: %s", err, server.said)
	}
	if total < 10*len(keys) {
		t.Fatalf("only %d writes: nothing was tried", total)
	}
}
