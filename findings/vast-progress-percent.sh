#!/usr/bin/env bash
# @dailymotion/vast-client 6.4.5 (the JavaScript VAST client that players build on), VAST 4.2.
# Guess:    <Tracking event="progress" offset="90%"> is called when 90 % of the ad has been played.
# Happens:  a percentage is also read as that many *seconds*, whichever comes first: in an ad of
#           five minutes the 90 % pixel is called after 90 seconds (30 % seen), the 50 % pixel after
#           50. A percentage with a fraction, which VAST allows, knows the seconds only: 33.3 % of
#           a 30-second ad is never called at all.
# Who:      whoever bills or optimises by progress pixels: long ads (connected TV, sponsored films)
#           count as seen that were not, short ones lose theirs. No error, and offsets of hh:mm:ss
#           are right.
# Instead:  hh:mm:ss offsets or the quartile events; or compare the percentages in the player.
set -euo pipefail
t=$(mktemp -d); trap 'rm -rf "$t"' EXIT; cd "$t"
npm init -y >/dev/null; npm i -s --no-fund --no-audit --ignore-scripts @dailymotion/vast-client@6.4.5 @xmldom/xmldom@0.9.12
cat > run.mjs <<'JS'
import vast from '@dailymotion/vast-client';
import { DOMParser } from '@xmldom/xmldom';

const offsets = ['10%', '33.3%', '50%', '90%', '00:00:15.000'];
const ad = (duration) => `<VAST version="4.2"><Ad id="1"><InLine><AdSystem>s</AdSystem><AdTitle>t</AdTitle>
  <Impression><![CDATA[http://t/i]]></Impression><Creatives><Creative><Linear><Duration>${duration}</Duration><TrackingEvents>
  ${offsets.map((o) => `<Tracking event="progress" offset="${o}"><![CDATA[http://t/${o}]]></Tracking>`).join('')}
  </TrackingEvents><MediaFiles><MediaFile delivery="progressive" type="video/mp4" width="640" height="360"><![CDATA[http://t/m]]>
  </MediaFile></MediaFiles></Linear></Creative></Creatives></InLine></Ad></VAST>`;

async function play(duration, seconds) {                      // from the first second to the last, four reports a second
  const response = await new vast.VASTParser().parseVAST(new DOMParser().parseFromString(ad(duration), 'text/xml'));
  const tracker = new vast.VASTTracker(null, response.ads[0], response.ads[0].creatives[0]);
  const called = {};
  let now = 0;
  tracker.trackURLs = (urls) => urls.forEach((u) => { called[u.slice('http://t/'.length)] ??= now; });
  for (now = 0.25; now <= seconds; now += 0.25) tracker.setProgress(now);
  return called;
}
const show = (due) => offsets.map((o) => `${o} ${due[o] === undefined ? 'never' : `at ${due[o]} s`}`).join(', ');
const short = await play('00:00:30', 30), long = await play('00:05:00', 300);
console.log('@dailymotion/vast-client 6.4.5');
console.log('guess:  30 s ad:  10% at 3 s, 33.3% at 10 s, 50% at 15 s, 90% at 27 s');
console.log(`seen:             ${show(short)}`);
console.log('guess:  300 s ad: 10% at 30 s, 33.3% at 100 s, 50% at 150 s, 90% at 270 s');
console.log(`seen:             ${show(long)}`);
process.exit(short['90%'] === 27 && short['33.3%'] === undefined && long['50%'] === 50 && long['90%'] === 90
  && long['00:00:15.000'] === 15 ? 0 : 1);
JS
node run.mjs
