// What invocations of a team tell each other where the team is a subgroup: see `attention.wgsl`.

alias T = f32;

fn publish_subgroup(slot: u32, x: vec4<T>) {}
fn meet_subgroup() {}
fn hand_subgroup(x: vec4<T>, slot: u32, giver: u32) -> vec4<T> { return subgroupShuffle(x, giver); }
fn across_subgroup(x: vec4<T>, distance: u32) -> vec4<T> { return subgroupShuffleXor(x, distance); }
