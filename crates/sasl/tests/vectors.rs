//! Published exchanges: RFC 5802 §5, RFC 7677 §3, and the same for SHA-512, computed with another implementation; and so
//! computed, what a client brings for an upgrade (XEP-0480).
//!
//! Our challenge carries one attribute more than those (XEP-0474), which the proof covers. So the stored keys are held
//! against the published ones, and proofs are made by the client side from challenges as published.

use stonechat_sasl::client::Scram;
use stonechat_sasl::{Credentials, Hash, UpgradeTask, decode, encode, prepare_password};

struct Vector {
    hash: Hash,
    /// Base64 of it is the client's nonce.
    client_nonce: &'static str,
    server_first: &'static str,
    client_final: &'static str,
    server_final: &'static str,
    salt: &'static str,
    stored_key: &'static str,
    server_key: &'static str,
}

const VECTORS: [Vector; 3] = [
    Vector {
        hash: Hash::Sha1,
        client_nonce: "fyko+d2lbbFgONRv9qkxdawL",
        server_first: "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
        client_final: "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
        server_final: "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
        salt: "QSXCR+Q6sek8bf92",
        stored_key: "6dlGYMOdZcOPutkcNY8U2g7vK9Y=",
        server_key: "D+CSWLOshSulAsxiupA+qs2/fTE=",
    },
    Vector {
        hash: Hash::Sha256,
        client_nonce: "rOprNGfwEbeRWgbNEkqO",
        server_first: "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        client_final: "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                       p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
        server_final: "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
        salt: "W22ZaJ0SNY7soEsUEjb6gQ==",
        stored_key: "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=",
        server_key: "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
    },
    Vector {
        hash: Hash::Sha512,
        client_nonce: "rOprNGfwEbeRWgbNEkqO",
        server_first: "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=Yzk5YzQ2YjM5MzI0NGRlMw==,i=4096",
        client_final: "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                       p=USIBUTz47KWGcJ6DBsUphwGgdAW8Hf8Pmlur0ht+EbEANwY/to620/xGddsmc4TUVA1Dk/pZOaqDRYurycugqA==",
        server_final: "v=9DcwakGGtirFTlB6Us2mSG1kyPy9hGPt56WgDGj4DOht8er9iLk5fxnfLh4zJ2aBCjuc8IJizCdbs8nPUtGHkQ==",
        salt: "Yzk5YzQ2YjM5MzI0NGRlMw==",
        stored_key: "CNBT1P0TpHNnHKr/7xntxTQ+eY/owplqSgrwCIc68Wr7E4djPPrXe6RyKnDtKpD7QTgrJ8Hj49GQUnkJ9g8N8Q==",
        server_key: "LaEBOKUpNibyfFEs5y8NKNeZ+pTIHnmusJ6WJqYWdPomvWQBlyYBKTk7zHGbpV+ebKKA5L7Sq1OGHcUkSxXmsA==",
    },
];

#[test]
fn rfc5802_5_and_rfc7677_3_exchanges() {
    for vector in VECTORS {
        let password = prepare_password("pencil").unwrap();
        let nonce = decode(vector.client_nonce).unwrap();
        let mut client = Scram::new(vector.hash, "user", &password, &nonce, None);
        assert_eq!(client.initial(), format!("n,,n=user,r={}", vector.client_nonce).into_bytes());
        let proof = client.respond(vector.server_first.as_bytes()).unwrap();
        assert_eq!(String::from_utf8(proof).unwrap(), vector.client_final);
        assert_eq!(client.finish(vector.server_final.as_bytes()), Ok(()));
    }
}

#[test]
fn rfc5802_3_stored_keys() {
    let password = prepare_password("pencil").unwrap();
    // Two of the published salts have 16 bytes, as ours always have; the 12 bytes of RFC 5802 are covered by its exchange.
    for vector in VECTORS {
        let Ok(salt) = <[u8; 16]>::try_from(decode(vector.salt).unwrap()) else {
            assert_eq!(vector.hash, Hash::Sha1);
            continue;
        };
        let credentials = Credentials::derive(&password, [salt; 3], 4096);
        let keys = credentials.keys(vector.hash).unwrap();
        assert_eq!(encode(&keys.stored_key), vector.stored_key);
        assert_eq!(encode(&keys.server_key), vector.server_key);
    }
}

#[test]
fn rfc5802_credentials_of_another_server_are_good_here() {
    use stonechat_sasl::ScramKeys;
    let keys = |vector: &Vector| {
        Some(ScramKeys {
            salt: decode(vector.salt).unwrap(),
            iterations: 4096,
            stored_key: decode(vector.stored_key).unwrap(),
            server_key: decode(vector.server_key).unwrap(),
        })
    };
    let [sha1, sha256, sha512] = &VECTORS;
    for credentials in [
        Credentials { sha1: keys(sha1), ..Credentials::default() },
        Credentials { sha256: keys(sha256), ..Credentials::default() },
        Credentials { sha512: keys(sha512), ..Credentials::default() },
    ] {
        assert!(credentials.verify(&prepare_password("pencil").unwrap()));
        assert!(!credentials.verify(&prepare_password("pencils").unwrap()));
    }
}

#[test]
fn xep0480_3_keys_from_a_salted_password() {
    // "pencil", with this salt and 4096 iterations: SaltedPassword, StoredKey, ServerKey.
    let table = [
        (
            UpgradeTask::ScramSha256,
            "FbdSpdVmnzgiX9mI/cW+L5oGcLWVr/sruutVRwHr3yg=",
            "nQpbZ77WudtqufPwikHXGRt6g2QJ4zns8bZLw273DRM=",
            "jn2amWP1q1h+jgjy0YTO14S6/F02SV7taipOeB7ef20=",
        ),
        (
            UpgradeTask::ScramSha512,
            "lx09IjZlvpg0vqHcE9KeRLHSz0dHYbOW8f+aDDbJnylpnGAu4U+E75nBhoM3aBtuyhbHISvlcdjpHw3BMWXspw==",
            "50q+37QH8XpaNkNxjgBGkxqXkoXVH2Lh3lHJ07g7AOGVlU4FcOi+wjKQc80Fl2VeSw/SniKUPcJigYjLk6Y/2w==",
            "fgiGfVDf7076b3mVdGf4ced4bUxY4L8AjpHsD8KRzbGOujkLSpj40lrcb9IvGqJ4Uv3dBiyDgUgoQnoVamua2Q==",
        ),
    ];
    for (task, salted_password, stored_key, server_key) in table {
        let keys = task.keys(&decode(salted_password).unwrap(), *b"0123456789abcdef", 4096).unwrap();
        assert_eq!((keys.salt.as_slice(), keys.iterations), (&b"0123456789abcdef"[..], 4096));
        assert_eq!(encode(&keys.stored_key), stored_key);
        assert_eq!(encode(&keys.server_key), server_key);
    }
}
