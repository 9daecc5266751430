#!/usr/bin/env bash
# One video over Kafka, from request to checked file, with kcat and jq.
#
#     bash one_video.sh <bootstrap> <job_id> <duration_s> [<prefix>]
set -euo pipefail

fail() { printf '%s\n' "$*" >&2; exit 1; }
(($# >= 3)) || fail 'usage: one_video.sh <bootstrap> <job_id> <duration_s> [<prefix>]'
bootstrap=$1 job=$2 duration_s=$3 prefix=${4:-reelbus}
replies=$prefix.replies.default.v1
wait_s=120

# The request goes out once the reader stands at the end of every partition: no reply can come before that.
partitions=$(kcat -L -J -b "$bootstrap" -t "$replies" | jq '.topics[0].partitions | length')
((partitions > 0)) || fail "$replies: no such topic"
exec 3< <(exec timeout "$wait_s" kcat -C -u -b "$bootstrap" -t "$replies" -o end \
  -X isolation.level=read_committed -f '%k\t%s\n' 2>&1)
reader=$!
trap 'kill "$reader" 2> /dev/null || true' EXIT
for ((left = partitions; left > 0;)); do
  read -r line <&3 || fail "cannot read $replies on $bootstrap"
  [[ $line != '% Reached end'* ]] || left=$((left - 1))
done

hex() { od -An -N "$1" -tx1 /dev/urandom | tr -d ' \n'; }
jq -cn --arg job_id "$job" --argjson duration_s "$duration_s" --arg reply_topic "$replies" '{
  $job_id, $reply_topic,
  shots: [{prompt: "a red circle moving left on a black background", $duration_s}],
  output: {width_px: 320, height_px: 180, fps: 12}
}' | kcat -P -b "$bootstrap" -t "$prefix.jobs.requested.standard.v1" -k "$job" -X acks=all -X enable.idempotence=true \
  -H ce_specversion=1.0 -H ce_id="$job" -H ce_source=/examples/kcat -H ce_type=reelbus.jobs.requested.v1 \
  -H traceparent="00-$(hex 16)-$(hex 8)-01" -H content-type=application/json

check() { # the last reply; an s3:// uri is fetched with: aws s3 cp "$uri" video.mp4
  local state uri sha256 bytes path
  state=$(jq -r .state <<< "$1")
  [[ $state == completed ]] || fail "$job ended $state: $(jq -r '.reason.message // "no reason given"' <<< "$1")"
  IFS=$'\t' read -r uri sha256 bytes < <(jq -r '.result.video.file | [.uri, .sha256, .size_bytes] | @tsv' <<< "$1")
  path=${uri#file://}
  path=$(printf '%b' "${path//%/\\x}") # %20 and the like
  [[ $(stat -Lc %s "$path") == "$bytes" ]] || fail "$job: $path does not have $bytes bytes"
  sha256sum --quiet --check <<< "$sha256  $path" || fail "$job: $path is not what the result says"
  printf 'ok %s %s %s\n' "$job" "$sha256" "$bytes"
}

while IFS=$'\t' read -r key reply <&3; do
  [[ $key == "$job" && $reply ]] || continue
  case $(jq -r .type <<< "$reply") in
    rejected) fail "rejected: $(jq -r .reason.message <<< "$reply")" ;; # it names the field at fault
    finished) check "$reply"; exit 0 ;;
  esac # accepted, started, and whatever a later version adds
done
fail "no result for $job after $wait_s s"
