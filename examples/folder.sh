#!/bin/sh
# All PNGs below a folder, smallest first, through a pipeline; a second call goes on where the first was stopped:
# examples/folder.sh photos coded
set -e
find "$1" -name '*.png' -type f -exec ls -1rS {} + | nicodec encode --files-from - -o "$2" --skip-existing
du -sh "$1" "$2"
