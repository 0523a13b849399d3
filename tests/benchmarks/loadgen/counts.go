package main

import (
	"sync"

	"google.golang.org/protobuf/encoding/protowire"
)

// counts says what became of readings.
type counts struct{ stored, duplicates, rejected int64 }

// totals sums up the counts of many senders.
type totals struct {
	lock sync.Mutex
	counts
}

func (t *totals) add(c counts) {
	t.lock.Lock()
	defer t.lock.Unlock()
	t.stored += c.stored
	t.duplicates += c.duplicates
	t.rejected += c.rejected
}

// addAcks adds the counts of a StreamReadingsResponse, and returns how many batches it acknowledges.
func (c *counts) addAcks(answer []byte) int {
	acks := 0
	for len(answer) > 0 {
		_, _, n := protowire.ConsumeTag(answer)
		ack, m := protowire.ConsumeBytes(answer[n:])
		c.addFields(ack, 2)
		acks++
		answer = answer[n+m:]
	}
	return acks
}

// addResponse adds the counts of an IngestReadingsResponse.
func (c *counts) addResponse(answer []byte) { c.addFields(answer, 1) }

// addFields adds stored, duplicates and rejected, three fields in a row of which the first has number `first`.
func (c *counts) addFields(message []byte, first protowire.Number) {
	into := []*int64{&c.stored, &c.duplicates, &c.rejected}
	for len(message) > 0 {
		number, kind, n := protowire.ConsumeTag(message)
		message = message[n:]
		if which := int(number - first); kind == protowire.VarintType && which >= 0 && which < len(into) {
			value, _ := protowire.ConsumeVarint(message)
			*into[which] += int64(value)
		}
		message = message[protowire.ConsumeFieldValue(number, kind, message):]
	}
}
