#!/usr/bin/env bash
# The harness itself: hosts are apart where they should be, and checks that must fail do.
# shellcheck disable=SC2317 # cases are called by their names
# shellcheck source=tests/cluster/testing.sh
source "$(dirname "${BASH_SOURCE[0]}")/testing.sh"

# Whether HOST reaches OTHER: nobody listens there, and its kernel says so.
reaches() {
  [[ $(on "$1" timeout 5 bash -c "exec 3<>/dev/tcp/$2/9" 2>&1) == *refused* ]]
}

test_hosts_have_names_networks_and_memory_of_their_own() {
  expect_equal "the name of n1" "$(on n1 hostname)" n1
  reaches n0 n1
  reaches n2 n1
  on n0 touch /dev/shm/mine
  expect_equal "what n1 has in memory" "$(on n1 ls /dev/shm)" ""
}

test_mpirun_reaches_all_hosts() {
  expect_equal "who answers" \
    "$(mpirun_from n0 --host n0,n1,n2 -np 3 hostname | sort | xargs)" "n0 n1 n2"
}

test_links_go_down_and_up() {
  hosts link n1 down
  if reaches n0 n1; then fail "n0 reaches a host without a cable"; fi
  reaches n0 n2
  hosts link n1 up
  wait_until "n0 reaches n1 again" reaches n0 n1
}

test_links_are_shaped() {
  hosts shape 100mbit
  expect_match "the link of n2" "$(on n2 tc qdisc show dev eth0)" "tbf .*rate 100Mbit"
  hosts shape off
  if on n2 tc qdisc show dev eth0 | grep tbf; then fail "the link is still limited"; fi
}

test_processes_of_a_host_are_known_and_killed() {
  local host
  for host in n0 n1; do
    on "$host" sleep 1000 &
    wait_until "it runs on $host" hosts pids "$host" -x sleep
  done
  hosts kill n0 -KILL -x sleep
  expect_match "what kill says of none" "$(expect_failure hosts kill n0 -KILL -x none)" \
    "nothing like '-x none' runs on n0"
  expect_equal "what runs on n1" "$(ps -o args= -p "$(hosts pids n1)")" "sleep 1000"
  hosts kill n1 -TERM -x sleep
  wait_until "all are gone" nothing_runs_on n1
}

test_a_crash_ends_all_that_runs_on_a_host() {
  local process
  on n2 bash -c 'setsid sleep 1000 & wait' &
  wait_until "it runs" hosts pids n2 -x sleep
  process=$(hosts pids n2 -x sleep)
  hosts crash n2
  if is_running "$process"; then fail "it survived the crash of its host"; fi
  expect_match "what exec says" "$(expect_failure on n2 true)" "^hosts: there is no n2"
  reaches n0 n1
  hosts boot n2
  reaches n0 n2
}

test_clusters_see_nothing_of_each_other() {
  local other=$cluster/other
  CLUSTER_STATE=$other hosts up 1
  on n0 touch /dev/shm/here
  expect_equal "the other n0's memory" "$(CLUSTER_STATE=$other on n0 ls /dev/shm)" ""
  CLUSTER_STATE=$other hosts down
  on n0 test -e /dev/shm/here
}

gone() { ! is_running "$1"; }

test_what_runs_ends_with_its_cluster_also_where_a_host_lost_its_keeper() {
  local other=$cluster/broken process keeper
  CLUSTER_STATE=$other hosts up 1
  CLUSTER_STATE=$other on n0 sleep 1000 &
  CLUSTER_STATE=$other wait_until "it runs" hosts pids n0 -x sleep
  process=$(CLUSTER_STATE=$other hosts pids n0 -x sleep)
  keeper=$(<"$other/hosts/n0.pid")
  kill -KILL "$keeper"
  wait_until "its keeper is gone" gone "$keeper"
  expect_match "what exec says" "$(CLUSTER_STATE=$other expect_failure on n0 true)" "n0 is gone"
  CLUSTER_STATE=$other hosts down
  if is_running "$process"; then fail "it survived its cluster"; fi
}

test_expectations_can_fail() {
  expect_match "equality" "$(expect_failure expect_equal it 1 2)" "failed: it is '1' and should be '2'"
  expect_match "matching" "$(expect_failure expect_match it one two)" "failed: it has nothing like 'two'"
  expect_match "failing" "$(expect_failure expect_failure true)" "failed: succeeded: true"
  expect_match "waiting" "$(kPatience=0 expect_failure wait_until "it is" false)" "failed: not after"
  expect_match "weights" "$(expect_failure digests "$cluster")" "failed: .* has no checkpoint"
}

# A case ends at its first error, and the script with it.
test_cases_can_fail() {
  local script=$cluster/failing.sh said
  cat >"$script" <<SCRIPT
source "$cluster_directory/testing.sh"
test_good() { true; }
test_bad() { false; echo goes on; }
run_cases "\$@"
SCRIPT
  said=$(expect_failure bash "$script")
  expect_match "a script with a bad case" "$said" "^not ok: bad"
  expect_match "a script with a good case" "$said" "^ok: good"
  if [[ $said == *'goes on'* ]]; then fail "a case goes on after an error"; fi
  expect_match "what is said of no case" "$(expect_failure bash "$script" missing)" "there is no case"
}

test_others_than_root_skip_in_one_line() {
  local status=0 said
  said=$(runuser -u nobody -- bash -c "source '$cluster_directory/testing.sh'; cluster_up 1" 2>&1) ||
    status=$?
  expect_equal "the exit code" "$status" "$kSkip"
  expect_equal "what is said" "$said" "skipped: only root can make virtual hosts"
}

cluster_up 3
run_cases "$@"
