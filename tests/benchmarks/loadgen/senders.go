package main

import (
	"context"
	"time"

	"google.golang.org/grpc"
)

const service = "/wattstream.api.ingest.v1.IngestService/"

// sender sends messages and returns what became of their readings, and how long each waited for its acknowledgement:
// from when it was due or, where nothing says when (due is nil), from when it was sent.
type sender interface {
	send(messages [][]byte, due func(n int) time.Time) (counts, []time.Duration, error)
}

// open returns a sender that has sent the first message and got its acknowledgement.
func open(connection *grpc.ClientConn, unary bool, window int, messages [][]byte) (sender, error) {
	var opened sender = caller{connection}
	if !unary {
		description := &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}
		call, err := connection.NewStream(context.Background(), description, service+"StreamReadings")
		if err != nil {
			return nil, err
		}
		opened = streamer{call, window}
	}
	_, _, err := opened.send(messages[:1], nil)
	return opened, err
}

// streamer sends over one stream, with at most `window` messages unacknowledged.
type streamer struct {
	call   grpc.ClientStream
	window int
}

func (s streamer) send(messages [][]byte, due func(n int) time.Time) (counts, []time.Duration, error) {
	slots := make(chan struct{}, s.window)
	begun := make(chan time.Time, s.window)
	go func() {
		for n := range messages {
			if due != nil {
				time.Sleep(time.Until(due(n)))
			}
			slots <- struct{}{}
			begun <- begin(due, n)
			if s.call.SendMsg(&messages[n]) != nil {
				return // and the receiver learns why
			}
		}
	}()
	var sum counts
	taken := make([]time.Duration, 0, len(messages))
	for len(taken) < len(messages) {
		var answer []byte
		if err := s.call.RecvMsg(&answer); err != nil {
			return sum, nil, err
		}
		now := time.Now()
		for range sum.addAcks(answer) {
			taken = append(taken, now.Sub(<-begun))
			<-slots
		}
	}
	return sum, taken, nil
}

// caller makes one call after the other.
type caller struct{ connection *grpc.ClientConn }

func (c caller) send(messages [][]byte, due func(n int) time.Time) (counts, []time.Duration, error) {
	var sum counts
	taken := make([]time.Duration, 0, len(messages))
	for n := range messages {
		if due != nil {
			time.Sleep(time.Until(due(n)))
		}
		begun := begin(due, n)
		var answer []byte
		if err := c.connection.Invoke(context.Background(), service+"IngestReadings", &messages[n], &answer); err != nil {
			return sum, nil, err
		}
		taken = append(taken, time.Since(begun))
		sum.addResponse(answer)
	}
	return sum, taken, nil
}

func begin(due func(n int) time.Time, n int) time.Time {
	if due == nil {
		return time.Now()
	}
	return due(n)
}
