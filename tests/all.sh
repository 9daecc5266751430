#!/bin/sh
# All tests in two processes side by side, each with a broker of its own: what only computes, or mostly waits for processes
# that hang or stop, runs beside the others. The last line is pytest's own summary of the others.
set -u
beside="tests/simulation tests/faults tests/fuzz tests/e2e/test_watchdog.py tests/e2e/test_drain.py
  tests/e2e/test_up_broker.py tests/e2e/test_bugs.py"
ignored=$(for path in $beside; do printf ' --ignore=%s' "$path"; done)
log=$(mktemp) && main=$(mktemp) && status=$(mktemp)
# shellcheck disable=SC2086 # lists of paths without spaces
"$BIN/python" -m pytest $beside -p no:cacheprovider >"$log" 2>&1 &
other=$!
trap 'kill $other 2>/dev/null; rm -f "$log" "$main" "$status"' EXIT
# shellcheck disable=SC2086
{ "$BIN/python" -m pytest $ignored; echo $? >"$status"; } 2>&1 | tee "$main"
wait $other
beside_status=$?
echo "beside them ($beside):"
cat "$log"
echo "all others:"
tail -n 1 "$main"
test "$(cat "$status")" -eq 0 && exit $beside_status
exit "$(cat "$status")"
