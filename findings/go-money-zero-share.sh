#!/usr/bin/env bash
# Rhymond/go-money 1.0.15 (Go) beside dinero.js 2.0.2: splitting an amount by weights.
# Guess:    a party with weight 0 gets nothing.
# Happens:  go-money gives the left-over cents to the first parties whatever their weight: 1.00 by
#           0:1:1:1 is 0.01, 0.33, 0.33, 0.33. The sum is right, so no check of totals finds it.
#           dinero.js gives the cent to one with a weight.
# Who:      revenue shared over touch points or publishers where the first one has no share:
#           100,000 such conversions pay it 1,000.00.
set -euo pipefail
t=$(mktemp -d); trap 'rm -rf "$t"' EXIT
mkdir "$t/m" "$t/js"; cd "$t/js"; npm init -y >/dev/null; npm i -s --no-fund --no-audit dinero.js@2.0.2
cat > a.mjs <<'JS'
import { allocate, dinero, toSnapshot } from 'dinero.js'; import { EUR } from 'dinero.js/currencies';
console.log(allocate(dinero({ amount: 100, currency: EUR }), [0, 1, 1, 1]).map(d => toSnapshot(d).amount).join(' '));
JS
js=$(node a.mjs)
cd "$t/m"; export GOPATH="$t/gopath" GOFLAGS=-modcacherw
cat > main.go <<'GO'
package main

import ("fmt"; "github.com/Rhymond/go-money")

func main() {
	total := int64(0)
	for i := 0; i < 100000; i++ {
		parts, err := money.New(100, money.EUR).Allocate(0, 1, 1, 1)
		if err != nil { panic(err) }
		total += parts[0].Amount()
		if i == 0 { fmt.Print(parts[0].Amount(), " ", parts[1].Amount(), " ", parts[2].Amount(), " ", parts[3].Amount(), "\n") }
	}
	fmt.Println(total)
}
GO
{ go mod init finding; go get github.com/Rhymond/go-money@v1.0.15; go mod tidy; } >/dev/null 2>&1
{ read -r go; read -r total; } < <(go run .)
go list -m github.com/Rhymond/go-money
echo "100 cents by 0:1:1:1"
echo "guess:  0 first"
echo "seen:   go-money: $go; dinero.js 2.0.2: $js; over 100,000 conversions the party with weight 0 has $total cents"
[ "$go" = "1 33 33 33" ] && [ "$js" = "0 34 33 33" ] && [ "$total" = 100000 ]
