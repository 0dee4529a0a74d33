"""What consumers are built from.

`runner` is the loop: it fetches (`pull`), has the effect applied (`persist`), acknowledges and fills gaps (`recover`).
`guard` decides which events may be applied. `effect` is the interface of effects; `postgres` and `valkey` implement it.
`dead_letters` keeps events that cannot be applied, `report` reports positions.
"""
