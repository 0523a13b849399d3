// Command loadgen sends ready-made messages over gRPC and prints, as one line of JSON, what became of them.
//
// The file holds records of a stream number and a message, each [uint32 stream][uint32 length][bytes], little-endian. A
// stream sends its messages in the order of the file. Messages are never decoded, so that the load costs little.
package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protowire"
)

const service = "/wattstream.api.ingest.v1.IngestService/"

type raw struct{}

func (raw) Marshal(v any) ([]byte, error)      { return *v.(*[]byte), nil }
func (raw) Unmarshal(data []byte, v any) error { *v.(*[]byte) = data; return nil }
func (raw) Name() string                       { return "proto" }

type totals struct{ stored, duplicates, rejected, messages atomic.Int64 }

type options struct {
	window int
	rate   float64 // messages a second of one stream; 0 sends as fast as the window allows
}

func main() {
	address := flag.String("address", "127.0.0.1:50051", "address of the ingest service")
	file := flag.String("file", "", "messages to send")
	mode := flag.String("mode", "stream", "stream (StreamReadings) or unary (IngestReadings)")
	window := flag.Int("window", 8, "messages of a stream under way without an acknowledgement")
	connections := flag.Int("connections", 4, "connections that the streams share")
	rate := flag.Float64("rate", 0, "messages a second over all streams; 0 is as fast as it goes")
	hold := flag.Duration("hold", 0, "keep the streams open for this long after the last acknowledgement")
	flag.Parse()

	streams, err := load(*file)
	if err != nil {
		log.Fatal(err)
	}
	var pool []*grpc.ClientConn
	for range *connections {
		connection, err := grpc.NewClient(*address,
			grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithDefaultCallOptions(grpc.ForceCodec(raw{})))
		if err != nil {
			log.Fatal(err)
		}
		pool = append(pool, connection)
	}
	opts := options{window: *window, rate: *rate / float64(max(1, len(streams)))}
	send := stream
	if *mode == "unary" {
		send = unary
	}
	var sum totals
	var wait, idle sync.WaitGroup
	release := make(chan struct{})
	latencies := make([][]int64, len(streams))
	begin := time.Now()
	for i, messages := range streams {
		wait.Add(1)
		idle.Add(1)
		go func() {
			defer idle.Done()
			// Streams of a paced load do not all send at the same moment.
			phase := time.Duration(0)
			if opts.rate > 0 {
				phase = time.Duration(float64(time.Second) / opts.rate * float64(i) / float64(len(streams)))
			}
			taken, err := send(pool[i%len(pool)], messages, opts, begin.Add(phase), &sum, wait.Done, release)
			if err != nil {
				log.Fatalf("stream %d: %v", i, err)
			}
			latencies[i] = taken
		}()
	}
	wait.Wait()
	seconds := time.Since(begin).Seconds()
	fmt.Fprintln(os.Stderr, "all acknowledged")
	time.Sleep(*hold)
	close(release)
	idle.Wait()
	report(seconds, &sum, slices.Concat(latencies...))
}

func report(seconds float64, sum *totals, latencies []int64) {
	slices.Sort(latencies)
	at := func(q float64) float64 {
		if len(latencies) == 0 {
			return 0
		}
		return float64(latencies[int(q*float64(len(latencies)-1))]) / 1e6
	}
	_ = json.NewEncoder(os.Stdout).Encode(map[string]any{
		"seconds": seconds, "messages": sum.messages.Load(), "stored": sum.stored.Load(),
		"duplicates": sum.duplicates.Load(), "rejected": sum.rejected.Load(),
		"p50_ms": at(0.5), "p99_ms": at(0.99), "max_ms": at(1),
	})
}

func stream(connection *grpc.ClientConn, messages [][]byte, opts options, begin time.Time, sum *totals,
	done func(), release <-chan struct{}) ([]int64, error) {
	description := &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}
	call, err := connection.NewStream(context.Background(), description, service+"StreamReadings")
	if err != nil {
		return nil, err
	}
	slots := make(chan struct{}, opts.window)
	sent := make([]time.Time, len(messages))
	failed := make(chan error, 1)
	go func() {
		for i := range messages {
			pace(begin, i, opts.rate)
			slots <- struct{}{}
			sent[i] = time.Now()
			if err := call.SendMsg(&messages[i]); err != nil {
				failed <- err
				return
			}
		}
	}()
	latencies := make([]int64, 0, len(messages))
	for len(latencies) < len(messages) {
		var answer []byte
		if err := call.RecvMsg(&answer); err != nil {
			return nil, err
		}
		now := time.Now()
		for range sum.addAcks(answer) {
			latencies = append(latencies, now.Sub(sent[len(latencies)]).Nanoseconds())
			<-slots
		}
	}
	done()
	<-release
	return latencies, call.CloseSend()
}

func unary(connection *grpc.ClientConn, messages [][]byte, opts options, begin time.Time, sum *totals,
	done func(), release <-chan struct{}) ([]int64, error) {
	latencies := make([]int64, 0, len(messages))
	for i := range messages {
		pace(begin, i, opts.rate)
		sent := time.Now()
		var answer []byte
		if err := connection.Invoke(context.Background(), service+"IngestReadings", &messages[i], &answer); err != nil {
			return nil, err
		}
		latencies = append(latencies, time.Since(sent).Nanoseconds())
		sum.addCounts(answer, 1)
	}
	done()
	<-release
	return latencies, nil
}

// pace waits until message i of a stream is due.
func pace(begin time.Time, i int, rate float64) {
	if rate > 0 {
		time.Sleep(time.Until(begin.Add(time.Duration(float64(i) / rate * float64(time.Second)))))
	}
}

// addAcks adds the counts of a StreamReadingsResponse, and returns how many batches it acknowledges.
func (t *totals) addAcks(answer []byte) int {
	acks := 0
	for len(answer) > 0 {
		_, _, n := protowire.ConsumeTag(answer)
		ack, m := protowire.ConsumeBytes(answer[n:])
		t.addCounts(ack, 2)
		acks++
		answer = answer[n+m:]
	}
	return acks
}

// addCounts adds stored, duplicates and rejected, which are three fields in a row of which the first has number `first`.
func (t *totals) addCounts(message []byte, first protowire.Number) {
	t.messages.Add(1)
	for len(message) > 0 {
		number, kind, n := protowire.ConsumeTag(message)
		message = message[n:]
		if kind == protowire.VarintType {
			value, _ := protowire.ConsumeVarint(message)
			switch number - first {
			case 0:
				t.stored.Add(int64(value))
			case 1:
				t.duplicates.Add(int64(value))
			case 2:
				t.rejected.Add(int64(value))
			}
		}
		message = message[protowire.ConsumeFieldValue(number, kind, message):]
	}
}

func load(path string) ([][][]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
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
	return streams, nil
}
