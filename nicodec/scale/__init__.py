"""More pictures than one process should do: shards of a folder, a manifest or tars, worked through by many workers.

::

    SRC ─ plan ─► shards ─► engine (local | ray) ─► worker ─► its process, with a model ─► DST, files or tars
                    ▲                                  └─ a finished shard's entry ─► ledger in DST ─┐
                    └──────────────── what is finished is left out ◄─────────────────────────────────┘

`nicodec batch` is the command line's way in; SCALE.md says what happens to what fails.
"""
