//! The contract on a PKCS#11 token, and what is particular to tokens.

use std::process::Output;
use std::time::Duration;
use std::{env, fs, thread};

use cryptoki::context::Pkcs11;
use cryptoki::object::{Attribute, AttributeType, ObjectClass};
use cryptoki::session::UserType;
use signalbeam_pki::{CaKeyStore as _, CaKeyType, CaMaterial, KeyStoreError, Pkcs11KeyStore, Pkcs11Token};

use super::softhsm::{again, with_token};
use super::{SECRET, ends_with_one_authority, holds, keeps_the_contract};

/// Runs asynchronous statements on one thread.
fn run<T>(statements: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(statements)
}

#[test]
fn tokens_keep_the_contract() {
    with_token("tokens_keep_the_contract", |hsm| {
        for key_type in CaKeyType::ALL {
            run(keeps_the_contract(key_type, || hsm.store(key_type.as_str())));
        }
    });
}

#[test]
fn creating_at_once_ends_with_one_authority() {
    with_token("creating_at_once_ends_with_one_authority", |hsm| {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(ends_with_one_authority(|| hsm.store("one")));
    });
}

#[test]
fn processes_that_create_at_once_end_with_one_key() {
    const TEST: &str = "processes_that_create_at_once_end_with_one_key";
    const CREATOR: &str = "SIGNALBEAM_TEST_SOFTHSM_CREATOR";
    with_token(TEST, |hsm| {
        if env::var_os(CREATOR).is_some() {
            let mut settings = hsm.settings(SECRET);
            settings.settling = Duration::from_secs(2);
            let store = Pkcs11KeyStore::new(Pkcs11Token::new(settings), "main");
            let key = run(store.create_key(CaKeyType::EcdsaP256)).unwrap();
            return fs::write(hsm.folder().join(env::var(CREATOR).unwrap()), format!("{key:?}")).unwrap();
        }
        let keys: Vec<_> = thread::scope(|scope| {
            let creators = ["a", "b", "c"].map(|name| {
                let hsm = &hsm;
                (name, scope.spawn(move || again(TEST, hsm.folder(), &[(CREATOR, name)])))
            });
            let key = |(name, creator): (&str, thread::ScopedJoinHandle<'_, Output>)| {
                let output = creator.join().unwrap();
                let said = || String::from_utf8_lossy(&output.stderr).into_owned();
                fs::read_to_string(hsm.folder().join(name)).unwrap_or_else(|_| panic!("{}", said()))
            };
            creators.map(key).into()
        });
        let found = run(hsm.store("main").create_key(CaKeyType::EcdsaP256)).unwrap();
        assert!(keys.iter().all(|key| *key == format!("{found:?}")), "{keys:?} {found:?}");
    });
}

#[test]
fn the_key_cannot_leave_the_token() {
    with_token("the_key_cannot_leave_the_token", |hsm| {
        run(hsm.store("main").create_key(CaKeyType::Rsa2048)).unwrap();
        // The library is initialised: this is the same process.
        let library = Pkcs11::new(&hsm.library).unwrap();
        let slot = library.get_slots_with_initialized_token().unwrap()[0];
        let session = library.open_ro_session(slot).unwrap();
        let _logged_in = session.login(UserType::User, Some(&SECRET.to_owned().into()));
        let private = [Attribute::Class(ObjectClass::PRIVATE_KEY), Attribute::Label(b"main".to_vec())];
        let keys = session.find_objects(&private).unwrap();
        assert_eq!(keys.len(), 1);
        let asked = [AttributeType::Sensitive, AttributeType::Extractable, AttributeType::NeverExtractable];
        let told = session.get_attributes(keys[0], &asked).unwrap();
        let expected = "[Sensitive(true), Extractable(false), NeverExtractable(true)]";
        assert_eq!(format!("{told:?}"), expected);
        assert!(session.get_attributes(keys[0], &[AttributeType::PrivateExponent]).unwrap().is_empty());
    });
}

#[test]
fn a_token_that_is_taken_out_is_an_error_and_works_again_when_it_is_back() {
    with_token("a_token_that_is_taken_out_is_an_error_and_works_again_when_it_is_back", |hsm| {
        let store = hsm.store("main");
        let key = run(store.create_key(CaKeyType::EcdsaP256)).unwrap();
        for _ in 0..3 {
            run(store.sign(b"message")).unwrap();
            hsm.take_out();
            for failure in [run(store.sign(b"message")).unwrap_err(), run(store.load()).unwrap_err()] {
                assert!(matches!(failure, KeyStoreError::Unavailable { .. }), "{failure:?}");
                let said = failure.to_string();
                assert!(said.contains("PKCS#11 token `signalbeam`") && !said.contains(SECRET), "{said}");
            }
            hsm.put_back();
            let signature = run(store.sign(b"message")).unwrap();
            assert!(holds(CaKeyType::EcdsaP256, key.spki_der(), b"message", &signature));
            assert_eq!(run(store.load()).unwrap(), CaMaterial::KeyOnly(key.clone()));
        }
    });
}

#[test]
fn lost_sessions_are_opened_anew_without_an_error() {
    with_token("lost_sessions_are_opened_anew_without_an_error", |hsm| {
        let store = hsm.store("main");
        run(store.create_key(CaKeyType::Rsa2048)).unwrap();
        let library = || Pkcs11::new(&hsm.library).unwrap();
        let slot = library().get_slots_with_initialized_token().unwrap()[0];
        library().open_ro_session(slot).unwrap().logout().unwrap();
        run(store.sign(b"message")).unwrap();
        library().finalize().unwrap();
        run(store.sign(b"message")).unwrap();
    });
}

#[test]
fn a_wrong_pin_is_tried_once_and_not_printed() {
    with_token("a_wrong_pin_is_tried_once_and_not_printed", |hsm| {
        run(hsm.store("main").create_key(CaKeyType::EcdsaP256)).unwrap();
        // Closes the session in which somebody is logged in, so that the next login counts.
        Pkcs11::new(&hsm.library).unwrap().finalize().unwrap();
        let token = Pkcs11Token::new(hsm.settings("4711-wrong"));
        let store = Pkcs11KeyStore::new(token.clone(), "main");
        for _ in 0..20 {
            let refused = run(store.sign(b"message")).unwrap_err();
            assert!(matches!(refused, KeyStoreError::PinRefused { .. }), "{refused:?}");
            let said = format!("{refused} {refused:?} {store:?}");
            assert!(said.contains("ca.pkcs11.pin_file") && !said.contains("4711-wrong"), "{said}");
        }
        let other = Pkcs11KeyStore::new(token, "other");
        assert!(matches!(run(other.load()), Err(KeyStoreError::PinRefused { .. })));
        run(hsm.store("main").sign(b"message")).unwrap();
    });
}

#[test]
fn what_is_not_there_is_named() {
    with_token("what_is_not_there_is_named", |hsm| {
        let mut settings = hsm.settings(SECRET);
        settings.token_label = "elsewhere".to_owned();
        let said = run(Pkcs11KeyStore::new(Pkcs11Token::new(settings), "main").load()).unwrap_err().to_string();
        assert!(said.contains("`elsewhere`"), "{said}");
        let mut settings = hsm.settings(SECRET);
        settings.module = "/nowhere/libhsm.so".into();
        let said = run(Pkcs11KeyStore::new(Pkcs11Token::new(settings), "main").load()).unwrap_err().to_string();
        assert!(said.contains("/nowhere/libhsm.so"), "{said}");
    });
}
