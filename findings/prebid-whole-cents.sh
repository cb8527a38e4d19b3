#!/usr/bin/env bash
# Prebid.js 11.36.0, its own price granularities "high" and "dense" (steps of one cent), and bids of
# whole cents. The function is the one that makes hb_pb, the price which the ad server sees.
# Guess:    a bid of a whole cent is its own step: 0.57 gives "0.57". The code says so: it scales
#           before it rounds down, since 4.01 / 0.01 is 400.99999999999994 (4.01 was mended in 2018).
# Happens:  the scaling itself is done in floating point: 4.01 is right, 0.57 gives "0.56", 2.01
#           gives "2.00". One in eighteen of the prices from 0.01 to 20.00 is offered a cent too low.
# Who:      fixed-price deals and floors in whole cents: the line item of 0.57 is not met, the bid
#           loses to one of 0.57 from elsewhere, and reports from hb_pb are short by a cent per mille.
# Instead:  cpmRoundingFunction: (n) => Math.floor(n + 1e-6) in setConfig (the last line).
set -euo pipefail
t=$(mktemp -d); trap 'rm -rf "$t"' EXIT; cd "$t"
npm init -y >/dev/null; npm i -s --no-fund --no-audit --ignore-scripts prebid.js@11.36.0
cat > run.mjs <<'JS'
import { pathToFileURL } from 'url';

globalThis.window = globalThis.self = globalThis;             // what the module asks of a browser
globalThis.location = new URL('http://localhost/');
const at = (file) => pathToFileURL(`node_modules/prebid.js/dist/src/src/${file}`);
const { getPriceBucketString } = await import(at('cpmBucketManager.js'));
const { config } = await import(at('config.js'));

function lower(granularity, most) {                           // whole cents that are not their own step
  const found = [];
  for (let cents = 1; cents <= most; cents++) {
    const price = (cents / 100).toFixed(2), step = getPriceBucketString(Number(price))[granularity];
    if (step !== price) found.push([price, step, Math.round(cents - Number(step) * 100)]);
  }
  return found;
}
const high = lower('high', 2000), dense = lower('dense', 300);
config.setConfig({ cpmRoundingFunction: (n) => Math.floor(n + 1e-6) });
const mended = lower('high', 2000).length + lower('dense', 300).length;
const show = (found) => found.slice(0, 8).map(([price, step]) => `${price} -> ${step}`).join(', ');
console.log('prebid.js 11.36.0');
console.log('guess:  each whole cent is its own step');
console.log(`seen:   high:  ${high.length} of 2000 are lower: ${show(high)} ...`);
console.log(`seen:   dense: ${dense.length} of 300 are lower: ${show(dense)} ...`);
console.log(`        with a rounding function of one's own: ${mended}`);
process.exit(high.length === 112 && dense.length === 15 && [...high, ...dense].every(([, , by]) => by === 1) && mended === 0 ? 0 : 1);
JS
node run.mjs
