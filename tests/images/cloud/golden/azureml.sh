#!/bin/bash
# pintune-phi-4-mini-reasoning: made by invoke launch. Trains on this machine's disk, and keeps a copy of its unfinished and new runs.
[ "${PINTUNE_FLAVOR:-}" = cu130 ] || { echo "wanted: an image of the flavor cu130; found: ${PINTUNE_FLAVOR:-none}" >&2; exit 2; }
export PINTUNE_IMAGE_DIGEST=sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
export PINTUNE_RUNNER=docker
cd /pintune || exit 1
storage="$1"
runs=runs/phi-4-mini-reasoning
[ -d "$storage" ] || { echo "wanted: the bucket; found: nothing mounted; where: $storage" >&2; exit 1; }

# Two jobs must not train one run. Each writes its number and a time again and again; no clocks are compared.
owner="${AZUREML_RUN_ID:-$(hostname)-$$}"
alive="$storage/$runs/.job"
seen=$(cat "$alive" 2>/dev/null)
if [ -n "$seen" ] && [ "${seen% *}" != "$owner" ]; then
    echo "waiting to see whether job ${seen% *}, which has used this bucket, still does"
    sleep $((3 * 60))
    if [ "$(cat "$alive" 2>/dev/null)" != "$seen" ]; then
        echo "wanted: a bucket for this job alone; found: job ${seen% *} trains; where: $storage/$runs" >&2
        exit 1
    fi
fi

copy() { # removes nothing in the bucket before all is copied
    local run each
    echo "$owner $(date +%s%N)" >"$alive" || return 1
    for run in "$runs"/[0-9]*/; do
        [ -d "$run" ] || continue
        mkdir -p "$storage/$run" && cp -ru "$run/." "$storage/$run/" || return 1
        for each in "$storage/$run"checkpoints/*/ "$storage/$run"unfinished.json "$storage/$run"process.json; do
            if [ -e "$each" ] && [ ! -e "${each#"$storage"/}" ]; then rm -r "$each"; fi
        done
    done
}

mkdir -p "$runs" "$storage/$runs" || exit 1
for mark in "$storage/$runs"/[0-9]*/unfinished.json; do # what a lost machine had not finished
    [ -e "$mark" ] || continue
    cp -r "${mark%/*}" "$runs/" || exit 1
    echo "copied  ${mark%/*}"
done
copy || exit 1
if [ -d "$storage/data" ]; then cp -ru "$storage/data/." data/ || exit 1; fi

python -m pipeline fetch --recipe phi-4-mini-reasoning --set lora.r=8 --set 'data.source=data/my file.jsonl' --set 'data.source=data/my file.jsonl' && python -m pipeline format --recipe phi-4-mini-reasoning --set lora.r=8 --set 'data.source=data/my file.jsonl' --set 'data.source=data/my file.jsonl' || exit

trap 'kill -TERM "$training" 2>/dev/null' TERM INT
python -m pipeline train --recipe phi-4-mini-reasoning --resume-or-start --processes 4 --set lora.r=8 --set 'data.source=data/my file.jsonl' --set 'data.source=data/my file.jsonl' &
training=$!
(while sleep 60; do copy 2>/dev/null; done) &
copying=$!
while kill -0 "$training" 2>/dev/null; do wait "$training"; done
wait "$training"
status=$?
kill "$copying" 2>/dev/null
wait "$copying" 2>/dev/null
if ! copy; then
    echo "wanted: a copy of the run in the bucket; found: it failed; where: $storage/$runs" >&2
    exit 1
fi
rm "$alive"
exit "$status"
