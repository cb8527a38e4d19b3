#!/usr/bin/env bash
# watermill 1.5.1 (Go), middleware.Deduplicator as it comes.
# Guess:    it drops a message that was seen before; a 32-bit checksum gives about one false
#           duplicate among 100,000 distinct messages (birthday bound: 1.2).
# Happens:  the key is Adler-32 of the payload. Adler-32 of a short text fills a small corner of
#           its 32 bits, and digits that move together cancel out: of 100,000 distinct 51-byte
#           click events most are dropped as duplicates, acknowledged and never handled.
# Who:      whoever puts the deduplicator before a handler that counts or charges small events.
# Instead:  a KeyFactory that returns the event's own id.
set -euo pipefail
t=$(mktemp -d); trap 'rm -rf "$t"' EXIT
mkdir "$t/m"; cd "$t/m"; export GOPATH="$t/go" GOFLAGS=-modcacherw
cat > main.go <<'GO'
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"
)

const n = 100000

func run(d *middleware.Deduplicator) int {
	handled := map[string]bool{}
	h := d.Middleware(func(m *message.Message) ([]*message.Message, error) {
		handled[m.UUID] = true
		return nil, nil
	})
	for i := 0; i < n; i++ {
		body := fmt.Sprintf(`{"click_id":"c%06d","account":%d,"cents":%d}`, i, 100+i%877, 10+i%90)
		if _, err := h(message.NewMessage(fmt.Sprint(i), []byte(body))); err != nil {
			panic(err)
		}
	}
	return len(handled)
}

func main() {
	plain := run(&middleware.Deduplicator{Timeout: time.Hour})
	byID := run(&middleware.Deduplicator{Timeout: time.Hour,
		KeyFactory: func(m *message.Message) (string, error) {
			var e struct{ Click_id string }
			err := json.Unmarshal(m.Payload, &e)
			return e.Click_id, err
		}})
	fmt.Printf("distinct messages in: %d\n", n)
	fmt.Printf("guess:  about %d handled by the default key\n", n-1)
	fmt.Printf("seen:   %d handled, %d dropped as duplicates (%.0f %%)\n", plain, n-plain, 100*float64(n-plain)/n)
	fmt.Printf("with the click_id as key: %d handled\n", byID)
	if plain > n/2 || byID != n {
		fmt.Println("CHANGED")
		os.Exit(1)
	}
}
GO
go mod init finding >/dev/null 2>&1
go get github.com/ThreeDotsLabs/watermill@v1.5.1 >/dev/null 2>&1; go mod tidy >/dev/null 2>&1
echo "$(go version | cut -d' ' -f3), $(go list -m github.com/ThreeDotsLabs/watermill)"
go run .
