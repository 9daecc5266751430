// One video over Kafka, from request to checked file, with franz-go.
//
//	go run . <bootstrap> <job_id> <duration_s> [<prefix>]
package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const wait = 120 * time.Second

// reply holds the fields this program looks at; encoding/json leaves the others out.
type reply struct {
	Type, State string
	Reason      struct{ Message string }
	Result      struct {
		Video struct {
			File struct {
				URI, SHA256 string
				SizeBytes   int `json:"size_bytes"`
			}
		}
	}
}

func main() {
	if len(os.Args) < 4 {
		fail("usage: go run . <bootstrap> <job_id> <duration_s> [<prefix>]")
	}
	jobID, prefix := os.Args[2], "reelbus"
	if len(os.Args) > 4 {
		prefix = os.Args[4]
	}
	replies := prefix + ".replies.default.v1"
	brokers := kgo.SeedBrokers(strings.Split(os.Args[1], ",")...)

	// franz-go produces with acks=all and idempotence, and partitions as the Java client does, unless told otherwise.
	writer := must(kgo.NewClient(brokers))
	defer writer.Close()
	ends := must(kadm.NewClient(writer).ListCommittedOffsets(context.Background(), replies))
	try(ends.Error())
	reader := must(kgo.NewClient(brokers, kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ConsumePartitions(ends.KOffsets())))
	defer reader.Close()

	try(writer.ProduceSync(context.Background(), request(prefix, jobID, os.Args[3], replies)).FirstErr())
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	for {
		fetches := reader.PollFetches(ctx)
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			fail("no result for %s after %.0f s", jobID, wait.Seconds())
		}
		try(fetches.Err())
		for _, record := range fetches.Records() {
			if string(record.Key) != jobID || record.Value == nil {
				continue
			}
			var got reply
			try(json.Unmarshal(record.Value, &got))
			switch got.Type {
			case "rejected":
				fail("rejected: %s", got.Reason.Message) // it names the field at fault
			case "finished":
				fmt.Println(check(jobID, got))
				return
			}
		}
	}
}

func request(prefix, jobID, duration, replies string) *kgo.Record {
	value := must(json.Marshal(map[string]any{
		"job_id":      jobID,
		"shots":       []any{map[string]any{"prompt": "a red circle moving left on a black background", "duration_s": json.Number(duration)}},
		"output":      map[string]int{"width_px": 320, "height_px": 180, "fps": 12},
		"reply_topic": replies,
	}))
	ids := make([]byte, 24)
	must(rand.Read(ids))
	record := &kgo.Record{Topic: prefix + ".jobs.requested.standard.v1", Key: []byte(jobID), Value: value}
	for name, text := range map[string]string{
		"ce_specversion": "1.0",
		"ce_id":          jobID,
		"ce_source":      "/examples/go",
		"ce_type":        "reelbus.jobs.requested.v1",
		"traceparent":    fmt.Sprintf("00-%x-%x-01", ids[:16], ids[16:]),
		"content-type":   "application/json",
	} {
		record.Headers = append(record.Headers, kgo.RecordHeader{Key: name, Value: []byte(text)})
	}
	return record
}

func check(jobID string, got reply) string {
	if got.State != "completed" {
		fail("%s ended %s: %s", jobID, got.State, got.Reason.Message)
	}
	file := got.Result.Video.File
	// An s3://bucket/key is fetched with GetObject of the AWS SDK.
	video := must(os.ReadFile(must(url.Parse(file.URI)).Path))
	sum := fmt.Sprintf("%x", sha256.Sum256(video))
	if sum != file.SHA256 || len(video) != file.SizeBytes {
		fail("%s: the file is %s, %d bytes; the result says %s, %d bytes", jobID, sum, len(video), file.SHA256, file.SizeBytes)
	}
	return fmt.Sprintf("ok %s %s %d", jobID, sum, len(video))
}

func must[T any](value T, err error) T {
	try(err)
	return value
}

func try(err error) {
	if err != nil {
		fail("%v", err)
	}
}

func fail(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
	os.Exit(1)
}
