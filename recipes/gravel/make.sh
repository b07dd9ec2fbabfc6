#!/usr/bin/env bash
# Makes bundled:gravel from texts in the folder $1 (books-0[0-4] and stories-00, JSON lines with a "text" field).
# About an hour on one core; kill it any time and run it again with --resume as second argument.
set -euo pipefail
texts=$1
files=()
for file in "$texts"/books-0[0-4].jsonl.xz "$texts"/stories-00.jsonl.xz; do files+=(--data "$file"); done
outcrop pretrain --from-scratch "$(dirname "$0")/shape.toml" "${files[@]}" --map text=text \
    --batch-size 16 --checkpoint-minutes 10 --max-minutes "${MINUTES:-58}" --to out-gravel "${@:2}"
