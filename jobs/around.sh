# Around the Python of a job: taken into the job's own script, since on a node neither Python nor the shared folders need
# be there. Given: python, code (its snapshot), array (submitit's folder), patience (seconds that both may be away), limit
# (nodes that the job may exclude in all).

trap : TERM USR1 USR2  # the shell ignores what SLURM signals to it, and waits on for the work to end
# One task of each array has the array's own id as its job id: by that all tasks would be requeued.
job=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID}
job=${job:-$SLURM_JOB_ID}
cause=${array%/*}/away/$job

fact() {
    scontrol --oneliner show job "$job" | sed -n "s/.* $1=\([^ ]*\).*/\1/p"
}

absent() {
    if [ ! -x "$python" ]; then echo "$python"; elif [ ! -d "$code" ]; then echo "$code"; else return 1; fi
}

# Whether the job could start at all without the nodes $1. The like in Python: jobs.scheduler.enough_without.
enough_without() {
    up=$(sinfo --noheader --Node --partition="$(fact Partition)" --format='%N %t' |
        awk '$2 !~ /^(down|drain|drng|fail|maint|inval|unk)|\*$/ { print $1 }' | sort -u)
    left=$(comm -23 <(echo "$up") <(scontrol show hostnames "$1" | sort -u) | grep -c .)
    wanted=$(fact NumNodes)
    [ "$left" -ge "${wanted%%-*}" ]
}

# Go on elsewhere where that is possible, else end with the cause. (jobs.node could not even begin here.)
leave() {
    old=$(fact ExcNodeList | sed 's/(null)//')
    new=$SLURMD_NODENAME${old:+,$old}
    why="$1 is not there on $SLURMD_NODENAME"
    if [ "$(fact JobState)" != RUNNING ] || [ "$(fact Restarts)" != "${SLURM_RESTART_COUNT:-0}" ]; then
        echo "$why; SLURM has taken the job back: left alone" >&2
        exit 1
    elif [ "$(scontrol show hostnames "$new" | grep -c .)" -gt "$limit" ]; then
        why="$why, nor on others before"
    elif ! enough_without "$new"; then
        why="$why, and too few other nodes are left to try"
    elif scontrol requeue "$job"; then
        scontrol update JobId="$job" ExcNodeList="$new"
        echo "$why; back in the queue" >&2
        sleep 60  # until SLURM ends us
        exit 1
    fi
    echo "blurtrain: $why: put it back, then \`blurtrain grid retry\` starts what failed" | tee "$cause" >&2
    exit 1
}

for ((waited = 0; waited < patience; waited += 2)); do
    absent >/dev/null || break
    sleep 2
done
if path=$(absent); then leave "$path"; fi
rm -f "$cause"

# Killed by -9, say, it has told SLURM nothing, and its processes may train on.
ended() {
    status=$?
    if [ "$status" -gt 128 ] && "$python" -m jobs.killed "$array" $((status - 128)); then exit 0; fi
    exit "$status"
}
trap ended EXIT
