// Words of 64 bits as two of 32, and back: elements 2 i and 2 i + 1 lie in word i, the first in its lower half.
fn pair_words(v: vec2<u64>) -> vec4<u32> {
    return vec4<u32>(vec2<u32>(v), vec2<u32>(v >> vec2<u32>(32u))).xzyw;
}
fn word_pairs(v: vec4<u32>) -> vec2<u64> { return vec2<u64>(v.xz) | (vec2<u64>(v.yw) << vec2<u32>(32u)); }
fn pair_halves(v: u64) -> vec2<u32> { return vec2<u32>(u32(v), u32(v >> 32u)); }
fn half_pair(v: vec2<u32>) -> u64 { return u64(v.x) | (u64(v.y) << 32u); }
