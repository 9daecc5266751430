#!/bin/sh
# All tests: the simulation, which only computes, beside all others, which mostly wait for brokers and processes.
# The last line is pytest's own summary of the others; that of the simulation comes before it.
set -u
log=$(mktemp) && summary=$(mktemp)
trap 'rm -f "$log" "$summary"' EXIT
"$BIN/python" -m pytest tests/simulation -p no:cacheprovider >"$log" 2>&1 &
simulation=$!
trap 'kill $simulation 2>/dev/null' INT TERM
{ "$BIN/python" -m pytest --ignore=tests/simulation; echo $? >"$summary.status"; } 2>&1 | tee "$summary"
status=$(cat "$summary.status") && rm -f "$summary.status"
echo "simulation:"
wait $simulation
simulated=$?
cat "$log"
echo "all others:"
tail -n 1 "$summary"
test "$status" -eq 0 && exit $simulated
exit "$status"
