#!/bin/sh
# One file, many pictures: both anchors, from the truest to the most natural: examples/taus.sh photo.jpg
set -e
name=$(basename "$1" | sed 's/\.[^.]*$//')
nicodec encode "$1" -o "$name.nic" -q 20
nicodec decode "$name.nic" -o "$name-fidelity-{tau}.png" --tau 0,0.5,1
nicodec decode "$name.nic" -o "$name-perception-{tau}.png" --tau 0,0.5,1 --anchor perception
