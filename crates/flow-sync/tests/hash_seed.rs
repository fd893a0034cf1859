//! The seeded hash: what was stored by it stays where it is, and nothing else meets it there.
#![cfg(not(loom))]

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hasher};

use flow_sync::HashSeed;
use proptest::prelude::*;

fn said(seed: HashSeed, write: impl FnOnce(&mut dyn Hasher)) -> u64 {
    let mut hasher = seed.build_hasher();
    write(&mut hasher);
    hasher.finish()
}

/// Snapshots keep hashes beside the words of their seed: neither may change from one version to the
/// next. Worked out from the definition with integers of any size, by another program.
#[test]
fn hashes_are_what_they_were() {
    let seed = HashSeed::from_words([0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210]);
    assert_eq!(seed.words(), [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3211]);
    let hashes = [
        said(seed, |_| ()),
        said(seed, |it| it.write_u8(7)),
        said(seed, |it| it.write_u64(u64::MAX)),
        said(seed, |it| it.write_u128(1 << 64)),
        said(seed, |it| it.write(b"")),
        said(seed, |it| it.write(b"client")),
        said(seed, |it| it.write(b"a client of two words")),
        seed.hash_one("client"),
        HashSeed::fixed(0).hash_one(1_u32),
        HashSeed::fixed(u64::MAX).hash_one(1_u32),
    ];
    assert_eq!(hashes, VECTORS);
}

const VECTORS: [u64; 10] = [
    0x4d06_cc32_e192_4786,
    0x538e_9872_ef87_1a02,
    0x2a19_fdd2_4725_3ca6,
    0x3c34_f4cd_a0dc_8ba4,
    0x4d06_cc32_e192_4786,
    0x40fa_9245_a8e6_15ec,
    0xee64_35aa_4067_cede,
    0xec6c_c243_466b_1980,
    0xa693_eb41_b4c0_8662,
    0x40c8_0a3c_d31c_fa27,
];

#[test]
fn numbers_of_every_width_are_one_word() {
    let seed = HashSeed::random();
    let byte = said(seed, |it| it.write_u8(200));
    assert_eq!(said(seed, |it| it.write_u16(200)), byte);
    assert_eq!(said(seed, |it| it.write_u32(200)), byte);
    assert_eq!(said(seed, |it| it.write_u64(200)), byte);
    assert_eq!(said(seed, |it| it.write_usize(200)), byte);
    assert_ne!(said(seed, |it| it.write_u128(200)), byte);
}

#[test]
fn every_table_has_secrets_of_its_own_and_says_them_to_nobody() {
    let seeds: HashSet<_> = (0..100).map(|_| HashSeed::random().words()).collect();
    assert_eq!(seeds.len(), 100);
    let hashes: HashSet<_> = seeds
        .iter()
        .map(|words| HashSeed::from_words(*words).hash_one("client"))
        .collect();
    assert_eq!(hashes.len(), 100);
    let seed = HashSeed::from_words([12_345, 67_891]);
    assert_eq!(format!("{seed:?}"), "HashSeed { .. }");
    assert_eq!(format!("{:?}", seed.build_hasher()), "FoldedHash { .. }");
    assert_eq!(HashSeed::fixed(3).words(), HashSeed::fixed(3).words());
    assert_ne!(HashSeed::fixed(3).words(), HashSeed::fixed(4).words());
}

/// By 1 a word would be folded to itself, by 2^64 - 1 each to the same.
#[test]
fn words_that_would_hash_nothing_are_changed() {
    for factor in [0, 1, u64::MAX - 1, u64::MAX] {
        let seed = HashSeed::from_words([7, factor]);
        let [start, used] = seed.words();
        assert!(start == 7 && used % 2 == 1, "{factor}");
        assert_eq!(HashSeed::from_words([start, used]).words(), [start, used]);
        let hashes: HashSet<_> = (0..1_000_u64).map(|it| seed.hash_one(it) >> 48).collect();
        // Of 65,536 places.
        assert!(hashes.len() > 900, "{factor}: {}", hashes.len());
    }
    assert_eq!(HashSeed::from_words([7, 2]).words(), [7, 3]);
}

/// Names as people give them, and numbers as they count: each bit of the hash is set by about half.
#[test]
fn keys_that_look_alike_are_spread_over_all_bits() {
    let seed = HashSeed::fixed(1);
    let numbers = (0..10_000_u64).map(|it| seed.hash_one(it));
    let names = (0..10_000).map(|it| seed.hash_one(format!("user-{it}").as_str()));
    for hashes in [numbers.collect::<Vec<_>>(), names.collect()] {
        assert_eq!(hashes.iter().collect::<HashSet<_>>().len(), 10_000);
        for bit in 0..64 {
            let set = hashes.iter().filter(|it| *it >> bit & 1 == 1).count();
            // Ten standard deviations.
            assert!((4_500..=5_500).contains(&set), "bit {bit}: {set}");
        }
    }
}

/// The hash of bytes as the module's head defines it: eight at a time, the last ones padded.
fn defined(seed: HashSeed, bytes: &[u8]) -> u64 {
    let [start, factor] = seed.words();
    let fold = |word: u64| {
        let product = u128::from(word) * u128::from(factor);
        product as u64 ^ (product >> 64) as u64
    };
    let state = bytes.chunks(8).fold(start, |state, part| {
        let mut word = [0; 8];
        word[..part.len()].copy_from_slice(part);
        fold(state ^ u64::from_le_bytes(word))
    });
    let golden = 0x9e37_79b9_7f4a_7c15;
    fold(state.wrapping_add(bytes.len() as u64) ^ golden)
}

proptest! {
    #[test]
    fn bytes_of_any_number_hash_as_defined(
        words in any::<[u64; 2]>(),
        bytes in any::<[u8; 24]>(),
    ) {
        let seed = HashSeed::from_words(words);
        for len in 0..=bytes.len() {
            let bytes = &bytes[..len];
            prop_assert_eq!(said(seed, |it| it.write(bytes)), defined(seed, bytes), "{} bytes", len);
        }
    }

    /// What is padded with zeros, and what ends in them, are two keys; so are two of any length.
    #[test]
    fn texts_that_differ_hash_apart(
        words in any::<[u64; 2]>(),
        one in prop::collection::vec(0..3_u8, 0..40),
        other in prop::collection::vec(0..3_u8, 0..40),
    ) {
        let seed = HashSeed::from_words(words);
        let [one_hash, other_hash] = [&one, &other].map(|it| said(seed, |to| to.write(it)));
        prop_assert_eq!(one_hash == other_hash, one == other);
        let [one_hash, other_hash] = [&one, &other].map(|it| seed.hash_one(it));
        prop_assert_eq!(one_hash == other_hash, one == other);
    }

    #[test]
    fn a_table_finds_what_it_was_given(
        words in any::<[u64; 2]>(),
        keys in prop::collection::hash_set(".{0,12}", 0..50),
    ) {
        let seed = HashSeed::from_words(words);
        let mut table = HashMap::with_hasher(seed);
        for (at, key) in keys.iter().enumerate() {
            table.insert(key.clone(), at);
        }
        let same = HashSeed::from_words(seed.words());
        for (at, key) in keys.iter().enumerate() {
            prop_assert_eq!(table.get(key), Some(&at));
            prop_assert_eq!(same.hash_one(key), seed.hash_one(key));
        }
    }
}
