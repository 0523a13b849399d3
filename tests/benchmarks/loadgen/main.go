// Command loadgen sends ready-made messages over gRPC and prints what became of them.
//
// The file holds records of a stream number and a message, each [uint32 stream][uint32 length][bytes], little-endian. A
// stream sends its messages in the order of the file. Messages are never decoded, so that the load costs little.
//
// It goes by steps, so that whoever runs it can look at the server in between: every stream sends its first message and
// awaits the acknowledgement, "open" is printed; a line on standard input begins the measured part, which ends with a
// line of JSON; the end of standard input closes the streams.
//
// `loadgen query` asks questions instead, see query.go.
package main

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// raw is a codec for messages that are bytes already.
type raw struct{}

func (raw) Marshal(v any) ([]byte, error)      { return *v.(*[]byte), nil }
func (raw) Unmarshal(data []byte, v any) error { *v.(*[]byte) = data; return nil }
func (raw) Name() string                       { return "proto" }

func main() {
	if len(os.Args) > 1 && os.Args[1] == "query" {
		query()
		return
	}
	address := flag.String("address", "127.0.0.1:50051", "address of the ingest service")
	file := flag.String("file", "", "messages to send")
	unary := flag.Bool("unary", false, "call IngestReadings, a caller a stream, instead of StreamReadings")
	window := flag.Int("window", 8, "messages of a stream under way without an acknowledgement")
	connections := flag.Int("connections", 16, "connections that the streams share, at most one a stream")
	openRate := flag.Float64("open-rate", 2000, "streams opened a second")
	rate := flag.Float64("rate", 0, "messages a second over all streams; 0 is as fast as the windows allow")
	flag.Parse()

	streams := load(*file)
	pool := connect(*address, min(*connections, len(streams)))
	senders := make([]sender, len(streams))
	each(senders, *openRate, func(i int) error {
		var err error
		senders[i], err = open(pool[i%len(pool)], *unary, *window, streams[i])
		return err
	})
	fmt.Println("open")
	input := bufio.NewReader(os.Stdin)
	if _, err := input.ReadString('\n'); err != nil {
		log.Fatal(err)
	}

	var sum totals
	latencies := make([][]time.Duration, len(streams))
	begin, used := time.Now(), cpu()
	each(senders, 0, func(i int) error {
		due := pace(begin, *rate, i, len(streams))
		counts, taken, err := senders[i].send(streams[i][1:], due)
		sum.add(counts)
		latencies[i] = taken
		return err
	})
	report(time.Since(begin), cpu()-used, sum.counts, slices.Concat(latencies...))
	_, _ = io.Copy(io.Discard, input)
}

// each runs `do` for every sender, all at once or `rate` a second, and returns when all are done.
func each(senders []sender, rate float64, do func(i int) error) {
	var all sync.WaitGroup
	begin := time.Now()
	for i := range senders {
		if rate > 0 {
			time.Sleep(time.Until(begin.Add(time.Duration(float64(i) / rate * float64(time.Second)))))
		}
		all.Add(1)
		go func() {
			defer all.Done()
			if err := do(i); err != nil {
				log.Fatalf("stream %d: %v", i, err)
			}
		}()
	}
	all.Wait()
}

// pace returns when message n of stream i is due, or nil for at once. Streams do not all send at the same moment.
func pace(begin time.Time, rate float64, i, streams int) func(n int) time.Time {
	if rate == 0 {
		return nil
	}
	return func(n int) time.Time {
		return begin.Add(time.Duration(float64(n*streams+i) / rate * float64(time.Second)))
	}
}

func report(elapsed, used time.Duration, sum counts, latencies []time.Duration) {
	slices.Sort(latencies)
	at := func(q float64) float64 {
		if len(latencies) == 0 {
			return 0
		}
		return latencies[int(q*float64(len(latencies)-1))].Seconds() * 1000
	}
	_ = json.NewEncoder(os.Stdout).Encode(map[string]any{
		"seconds": elapsed.Seconds(), "generator_cpu_s": used.Seconds(), "messages": len(latencies),
		"stored": sum.stored, "duplicates": sum.duplicates, "rejected": sum.rejected,
		"p50_ms": at(0.5), "p99_ms": at(0.99), "max_ms": at(1),
	})
}

// cpu returns the CPU time that this process has used.
func cpu() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		log.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func connect(address string, connections int) []*grpc.ClientConn {
	pool := make([]*grpc.ClientConn, connections)
	for i := range pool {
		var err error
		pool[i], err = grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithDefaultCallOptions(grpc.ForceCodec(raw{})))
		if err != nil {
			log.Fatal(err)
		}
	}
	return pool
}

// load returns the messages of each stream.
func load(path string) [][][]byte {
	data, err := os.ReadFile(path)
	if err != nil {
		log.Fatal(err)
	}
	var streams [][][]byte
	for len(data) > 0 {
		number, length := int(binary.LittleEndian.Uint32(data)), int(binary.LittleEndian.Uint32(data[4:]))
		for len(streams) <= number {
			streams = append(streams, nil)
		}
		streams[number] = append(streams[number], data[8:8+length])
		data = data[8+length:]
	}
	return streams
}
