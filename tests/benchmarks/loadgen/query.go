package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
)

const deadline = 60 * time.Second

// query asks ready-made questions, and never looks at the answers. A line on standard input says which:
//
//	CALLERS ADDRESS METHOD FILE
//
// The requests of the file, one stream of them as elsewhere, are taken in turn by so many callers at once, each with a
// connection of its own, which stays open for the lines that follow. Answered with a line of JSON.
func query() {
	known := map[string][]*grpc.ClientConn{}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var callers int
		var address, method, file string
		if _, err := fmt.Sscan(lines.Text(), &callers, &address, &method, &file); err != nil {
			log.Fatalf("%q: %v", lines.Text(), err)
		}
		if missing := callers - len(known[address]); missing > 0 {
			known[address] = append(known[address], connect(address, missing)...)
		}
		ask(known[address][:callers], method, load(file)[0])
	}
}

func ask(callers []*grpc.ClientConn, method string, requests [][]byte) {
	latencies := make([]float64, len(requests))
	outcomes := make([]error, len(requests))
	var next atomic.Int64
	var all sync.WaitGroup
	begin, used := time.Now(), cpu()
	for _, caller := range callers {
		all.Add(1)
		go func() {
			defer all.Done()
			for n := next.Add(1) - 1; n < int64(len(requests)); n = next.Add(1) - 1 {
				since := time.Now()
				outcomes[n] = call(caller, method, requests[n])
				latencies[n] = time.Since(since).Seconds() * 1000
			}
		}()
	}
	all.Wait()
	_ = json.NewEncoder(os.Stdout).Encode(map[string]any{
		"seconds": time.Since(begin).Seconds(), "client_cpu_s": (cpu() - used).Seconds(),
		"latencies_ms": latencies, "failed": failures(outcomes),
	})
}

func call(caller *grpc.ClientConn, method string, request []byte) error {
	within, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	var answer []byte
	return caller.Invoke(within, method, &request, &answer)
}

// failures returns of each status that is not OK how often it was answered, and what was said the first time.
func failures(outcomes []error) map[string]any {
	counts, said := map[string]int{}, map[string]any{}
	for _, err := range outcomes {
		if err == nil {
			continue
		}
		name := strings.ToUpper(status.Code(err).String())
		if counts[name]++; counts[name] == 1 {
			said[name] = status.Convert(err).Message()
		}
	}
	failed := map[string]any{}
	for name, count := range counts {
		failed[name] = map[string]any{"calls": count, "message": said[name]}
	}
	return failed
}
