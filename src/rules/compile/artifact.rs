//! The cache of compiled plugins on disk.
//!
//! A loaded file runs as native code in the server. Only files that this installation wrote for
//! exactly this plugin, engine and profile may be loaded.
//!
//! A file is the code followed by an HMAC-SHA256 over digest, engine id, profile and code. A file
//! that fails the check is treated as missing, and the plugin is compiled again.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_lc_rs::hmac;
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::domain::decision::EngineId;
use crate::domain::plugin::{Digest, Profile};

const TAG_BYTES: usize = 32;
const DOMAIN: &[u8] = b"tollgate compiled plugin 1";

/// A temporary file exists while a plugin is compiled, up to two hours on a busy machine.
const TEMPORARY_KEPT: Duration = Duration::from_secs(4 * 3_600);
/// Longer than two versions run side by side during an update or a rollback.
const OTHER_ENGINE_KEPT: Duration = Duration::from_secs(7 * 24 * 3_600);

pub(in crate::rules) struct ArtifactCache {
    folder: PathBuf,
    key: hmac::Key,
    engine_id: EngineId,
}

/// Shared, since several caches of a process may write into the same folder.
static TEMPORARY_FILES: AtomicU64 = AtomicU64::new(0);

/// A compiled plugin while it is written to the cache. Dropping it removes the temporary file.
#[derive(Debug)]
pub(in crate::rules) struct Draft {
    file: File,
    temporary: PathBuf,
    path: PathBuf,
    tag: hmac::Context,
    code_bytes: u64,
}

impl Draft {
    pub(in crate::rules) fn write(&mut self, part: &[u8]) -> io::Result<()> {
        self.file.write_all(part)?;
        self.tag.update(part);
        self.code_bytes += part.len() as u64;
        Ok(())
    }

    /// Moves the file to its place in the cache.
    pub(in crate::rules) fn keep(&mut self) -> io::Result<()> {
        self.file.write_all(self.tag.clone().sign().as_ref())?;
        self.file.sync_all()?;
        std::fs::rename(&self.temporary, &self.path)
    }

    /// The code written so far, to continue in memory if the disk is full.
    pub(in crate::rules) fn read_back(&mut self) -> io::Result<Vec<u8>> {
        self.file.seek(SeekFrom::Start(0))?;
        let mut code = Vec::new();
        (&self.file).take(self.code_bytes).read_to_end(&mut code)?;
        if code.len() as u64 == self.code_bytes { Ok(code) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.temporary);
    }
}

impl ArtifactCache {
    /// Never fails. If the folder cannot be used, no plugin is found in the cache, and compiled
    /// plugins are kept in memory.
    pub(in crate::rules) fn open(folder: PathBuf, key: &[u8; 32], engine_id: EngineId) -> Self {
        if let Err(error) = create(&folder) {
            tracing::warn!(
                folder = %folder.display(), %error,
                "the folder for compiled plugins cannot be used; they will be compiled again at every start"
            );
        }
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        let cache = Self { folder, key, engine_id };
        cache.prune();
        cache
    }

    /// Removes old files of other engines and old temporary files. Younger ones may belong to a
    /// running process. A plugin whose file is removed by mistake is compiled again.
    fn prune(&self) {
        let own = format!("-{}.code", self.engine_id.0);
        let entries = std::fs::read_dir(&self.folder).into_iter().flatten().flatten();
        for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file())) {
            let name = entry.file_name();
            let kept_for = match name.to_str() {
                Some(name) if is_temporary(name) => TEMPORARY_KEPT,
                Some(name) if is_compiled(name) && !name.ends_with(&own) => OTHER_ENGINE_KEPT,
                _ => continue,
            };
            let modified = entry.metadata().and_then(|metadata| metadata.modified());
            let age = modified.ok().and_then(|modified| modified.elapsed().ok());
            if age.is_some_and(|age| age > kept_for) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }

    /// `None` if the cache has no file that passes the check.
    pub(in crate::rules) fn load(
        &self,
        engine: &Engine,
        digest: Digest,
        profile: Profile,
    ) -> Option<Component> {
        let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, format!("{error:#}"));
        let loaded = self.load_trusted(engine, digest, profile);
        match loaded.and_then(|loaded| loaded.map_err(invalid)) {
            Ok(component) => Some(component),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(plugin = %digest, %error, "a compiled plugin in the cache cannot be used");
                None
            }
        }
    }

    pub(in crate::rules) fn draft(&self, digest: Digest, profile: Profile) -> io::Result<Draft> {
        // The folder may have been deleted since the start.
        let _ = create(&self.folder);
        let (temporary, file) = loop {
            let number = TEMPORARY_FILES.fetch_add(1, Ordering::Relaxed);
            let temporary = self.folder.join(format!(".{}-{number}", std::process::id()));
            match OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&temporary) {
                Ok(file) => break (temporary, file),
                // The file of an earlier process with the same id, or of a process in another
                // container.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        };
        let tag = self.authenticator(digest, profile);
        Ok(Draft { file, temporary, path: self.path(digest, profile), tag, code_bytes: 0 })
    }

    /// An error is ignored: the file only takes space until `prune` removes it.
    pub(in crate::rules) fn remove(&self, digest: Digest, profile: Profile) {
        let _ = std::fs::remove_file(self.path(digest, profile));
    }

    fn path(&self, digest: Digest, profile: Profile) -> PathBuf {
        self.folder.join(format!("{digest}-{}-{}.code", profile.name(), self.engine_id.0))
    }

    /// Like [`Self::load`], but returns why a plugin cannot be loaded. The outer error is from the
    /// disk or the check, the inner one from Wasmtime.
    pub(in crate::rules) fn load_trusted(
        &self,
        engine: &Engine,
        digest: Digest,
        profile: Profile,
    ) -> io::Result<wasmtime::Result<Component>> {
        use rustix::fs::OFlags;
        let mut file = OpenOptions::new()
            .read(true)
            .custom_flags(OFlags::NOFOLLOW.bits() as i32)
            .open(self.path(digest, profile))?;
        self.verify(&mut file, digest, profile)?;
        Ok(load_verified(engine, &mut file))
    }

    fn verify(&self, file: &mut File, digest: Digest, profile: Profile) -> io::Result<()> {
        let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what);
        let metadata = file.metadata()?;
        let code_bytes = metadata.len().checked_sub(TAG_BYTES as u64).ok_or_else(|| wrong("cut off"))?;
        if !metadata.is_file() {
            return Err(wrong("not a regular file"));
        }
        let mut context = self.authenticator(digest, profile);
        let mut buffer = vec![0; 64 << 10];
        let mut left = code_bytes;
        while left > 0 {
            let wanted = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            file.read_exact(&mut buffer[..wanted])?;
            context.update(&buffer[..wanted]);
            left -= wanted as u64;
        }
        let mut tag = [0; TAG_BYTES];
        file.read_exact(&mut tag)?;
        aws_lc_rs::constant_time::verify_slices_are_equal(context.sign().as_ref(), &tag).map_err(|_| {
            wrong(
                "its authentication code does not match: it is damaged, or was written by another \
                 installation",
            )
        })
    }

    fn authenticator(&self, digest: Digest, profile: Profile) -> hmac::Context {
        let mut context = hmac::Context::with_key(&self.key);
        let id = self.engine_id.0.as_bytes();
        for part in [DOMAIN, &digest.0, id, profile.name().as_bytes()] {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        context
    }
}

fn create(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Whether the name is `.<process>-<number>`, as for drafts.
fn is_temporary(name: &str) -> bool {
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let parts = name.strip_prefix('.').and_then(|name| name.split_once('-'));
    parts.is_some_and(|(process, count)| number(process) && number(count))
}

/// Whether the name is `<digest>-<profile>-<engine>.code`, for any engine.
fn is_compiled(name: &str) -> bool {
    let mut parts = name.strip_suffix(".code").unwrap_or_default().splitn(3, '-');
    let digest = parts.next().is_some_and(|digest| Digest::parse(digest).is_ok());
    let profile = parts.next().is_some_and(|profile| Profile::parse(profile).is_some());
    digest && profile && parts.next().is_some()
}

/// Compiled code that could not be written to the cache.
#[derive(Debug)]
pub(in crate::rules) struct CodeInMemory(Vec<u8>);

impl CodeInMemory {
    /// Only for the output of a child that compiles: it is loaded without a check.
    pub(super) fn of_child(code: Vec<u8>) -> Self {
        Self(code)
    }

    #[allow(unsafe_code)]
    pub(in crate::rules) fn load(&self, engine: &Engine) -> wasmtime::Result<Component> {
        // SAFETY: the code was made by `Engine::precompile_component` of this same program, in a
        // child process that this process started and read through a pipe.
        unsafe { Component::deserialize(engine, &self.0) }
    }
}

/// Maps the file through the descriptor that was verified, so it does not matter if the name now
/// refers to another file. The tag after the code is outside all sections of the code. On other
/// systems than Linux, and without `/proc`, the file is read through the same descriptor instead.
#[allow(unsafe_code)]
fn load_verified(engine: &Engine, file: &mut File) -> wasmtime::Result<Component> {
    // SAFETY (of both): the file behind this descriptor has this installation's authentication code
    // for this plugin, engine and profile, so its code was made by `Engine::precompile_component`.
    // The file is 0600 in a 0700 folder and is only replaced by renaming. After it was verified,
    // only processes of the same user could change it, and they can control the server anyway.
    let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    if cfg!(target_os = "linux") && path.exists() {
        return unsafe { Component::deserialize_file(engine, path) };
    }
    let mut code = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.read_to_end(&mut code)?;
    code.truncate(code.len().saturating_sub(TAG_BYTES));
    unsafe { Component::deserialize(engine, code) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::engine::{Sandboxes, compiled_config};

    const KEY: [u8; 32] = [7; 32];
    const PLUGIN: Digest = Digest([1; 32]);
    const OTHER: Digest = Digest([2; 32]);

    struct CacheFixture {
        folder: tempfile::TempDir,
        sandboxes: Sandboxes,
        cache: ArtifactCache,
    }

    impl CacheFixture {
        /// A cache with one compiled plugin.
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let sandboxes = Sandboxes::new().expect("sandboxes");
            let cache = Self::cache(&folder, &KEY, sandboxes.id().clone());
            let bytes = wat::parse_str("(component)").expect("a component");
            let code = Engine::new(&compiled_config())
                .and_then(|engine| engine.precompile_component(&bytes))
                .expect("it compiles");
            let mut draft = cache.draft(PLUGIN, Profile::Small).expect("a file");
            let (first, second) = code.split_at(code.len() / 2);
            draft.write(first).and_then(|()| draft.write(second)).expect("it is written");
            assert_eq!(draft.read_back().expect("it can be read"), code);
            draft.keep().expect("it is stored");
            Self { folder, sandboxes, cache }
        }

        fn cache(folder: &tempfile::TempDir, key: &[u8; 32], id: EngineId) -> ArtifactCache {
            ArtifactCache::open(folder.path().join("cache"), key, id)
        }

        fn loads(&self, cache: &ArtifactCache, digest: Digest, profile: Profile) -> bool {
            cache.load(&self.sandboxes.of(profile).engine, digest, profile).is_some()
        }

        fn path(&self) -> PathBuf {
            self.cache.path(PLUGIN, Profile::Small)
        }

        fn bytes(&self) -> Vec<u8> {
            std::fs::read(self.path()).expect("the stored file")
        }

        /// Overwrites the file and returns whether it can still be loaded.
        fn loads_as(&self, bytes: &[u8]) -> bool {
            std::fs::write(self.path(), bytes).expect("the file can be written");
            self.loads(&self.cache, PLUGIN, Profile::Small)
        }
    }

    #[test]
    fn a_stored_plugin_is_loaded_again_and_its_file_is_private() {
        use std::os::unix::fs::PermissionsExt;
        let fixture = CacheFixture::new();
        assert!(fixture.loads(&fixture.cache, PLUGIN, Profile::Small));
        let mode = |path: &Path| std::fs::metadata(path).map(|m| m.permissions().mode() & 0o777).ok();
        assert_eq!(mode(&fixture.path()), Some(0o600));
        assert_eq!(mode(&fixture.folder.path().join("cache")), Some(0o700));
    }

    #[test]
    fn a_damaged_byte_anywhere_is_not_trusted() {
        let fixture = CacheFixture::new();
        let whole = fixture.bytes();
        for place in (0..whole.len()).step_by(997).chain([whole.len() - 1]) {
            let mut damaged = whole.clone();
            damaged[place] ^= 1;
            assert!(!fixture.loads_as(&damaged), "byte {place}");
        }
        assert!(fixture.loads_as(&whole));
    }

    #[test]
    fn a_truncated_or_extended_file_is_not_trusted() {
        let fixture = CacheFixture::new();
        let whole = fixture.bytes();
        for length in [0, 31, 32, 33, whole.len() - 1] {
            assert!(!fixture.loads_as(&whole[..length]), "{length} bytes");
        }
        assert!(!fixture.loads_as(&[whole.as_slice(), &[0]].concat()));
    }

    #[test]
    fn a_file_of_another_installation_plugin_profile_or_engine_is_not_trusted() {
        let fixture = CacheFixture::new();
        let id = fixture.sandboxes.id().clone();
        let foreign = CacheFixture::cache(&fixture.folder, &[8; 32], id);
        assert!(!fixture.loads(&foreign, PLUGIN, Profile::Small));

        let copy_to = |path: PathBuf| std::fs::copy(fixture.path(), path).map(|_| ()).expect("a copy");
        copy_to(fixture.cache.path(OTHER, Profile::Small));
        assert!(!fixture.loads(&fixture.cache, OTHER, Profile::Small));
        copy_to(fixture.cache.path(PLUGIN, Profile::Large));
        assert!(!fixture.loads(&fixture.cache, PLUGIN, Profile::Large));

        let stale = CacheFixture::cache(&fixture.folder, &KEY, EngineId("another-engine".to_owned()));
        copy_to(stale.path(PLUGIN, Profile::Small));
        assert!(!fixture.loads(&stale, PLUGIN, Profile::Small));
        assert!(fixture.loads(&fixture.cache, PLUGIN, Profile::Small));
    }

    #[test]
    fn opening_removes_old_files_of_other_engines_and_old_temporaries_only() {
        let fixture = CacheFixture::new();
        let folder = fixture.folder.path().join("cache");
        let other = format!("{PLUGIN}-small-another-engine.code");
        let hours = |hours: u64| Duration::from_secs(hours * 3_600);
        let put = |name: &str, age: Duration| {
            let file = File::create(folder.join(name)).expect("a file");
            file.set_modified(std::time::SystemTime::now() - age).expect("its time is set");
        };
        put(&format!("{OTHER}-small-another-engine.code"), hours(24));
        put(&other, hours(24 * 8));
        put(".77-0", hours(5));
        put(".77-1", hours(3));
        put("notes.code", hours(24 * 99));
        put(".keep", hours(24 * 99));
        let own = File::options().write(true).open(fixture.path()).expect("the stored file");
        own.set_modified(std::time::SystemTime::now() - hours(24 * 99)).expect("its time is set");

        let again = CacheFixture::cache(&fixture.folder, &KEY, fixture.sandboxes.id().clone());
        assert!(fixture.loads(&again, PLUGIN, Profile::Small));
        let left = |name: &str| folder.join(name).exists();
        assert_eq!((left(&other), left(".77-0")), (false, false));
        for kept in [&format!("{OTHER}-small-another-engine.code"), ".77-1", "notes.code", ".keep"] {
            assert!(left(kept), "{kept}");
        }
    }

    #[test]
    fn a_link_in_the_place_of_a_file_is_not_followed() {
        let fixture = CacheFixture::new();
        let elsewhere = fixture.folder.path().join("elsewhere");
        std::fs::rename(fixture.path(), &elsewhere).expect("it can be moved");
        std::os::unix::fs::symlink(&elsewhere, fixture.path()).expect("a link");
        assert!(!fixture.loads(&fixture.cache, PLUGIN, Profile::Small));
    }
}
