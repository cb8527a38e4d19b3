//! What rustdoc knows of the library crates, as JSON: made by the Rust in use, or by one whose JSON is understood.

use std::fs;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// The formats of rustdoc's JSON that the crate `public-api` understands.
const UNDERSTOOD: RangeInclusive<u64> = 57..=59;

/// What rustdoc says of a library crate.
#[derive(Debug)]
pub(crate) struct Library {
    /// As code names it.
    pub(crate) name: String,
    pub(crate) folder: PathBuf,
    pub(crate) json: PathBuf,
    /// The format of the JSON.
    format: u64,
}

/// What cargo knows of the workspace.
struct Workspace {
    metadata: Value,
}

impl Workspace {
    fn read(cargo: &mut Command) -> Self {
        let output = cargo.args(["metadata", "--no-deps", "--format-version", "1"]);
        let output = run(output);
        Self { metadata: serde_json::from_slice(&output.stdout).unwrap() }
    }

    /// The crates that are published.
    fn libraries(&self) -> impl Iterator<Item = &Value> {
        let packages = self.metadata["packages"].as_array().unwrap().iter();
        packages.filter(|package| package["publish"].is_null())
    }

    /// The features that the documentation of the libraries shows, for the command line.
    fn features(&self) -> String {
        let of = |package: &Value| {
            let shown = &package["metadata"]["docs"]["rs"];
            let named = shown["features"].as_array().into_iter().flatten();
            let named: Vec<_> = named.map(|name| name.as_str().unwrap()).collect();
            let all = shown["all-features"] == true;
            let names = package["features"].as_object().unwrap().keys();
            let names =
                names.filter(|name| *name != "default" && (all || named.contains(&name.as_str())));
            names.map(|name| format!("{}/{name},", package["name"].as_str().unwrap())).collect()
        };
        self.libraries().map(of).collect::<Vec<String>>().concat()
    }

    /// The Rust that the listings can always be made with.
    fn toolchain(&self) -> &str {
        self.metadata["metadata"]["public-api"]["toolchain"].as_str().unwrap()
    }
}

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{said}", output.status);
    output
}

/// Cargo in the workspace: that in use, or that of another Rust, by rustup.
fn cargo(toolchain: Option<&str>) -> Command {
    let mut command = Command::new(if toolchain.is_some() { "rustup" } else { env!("CARGO") });
    if let Some(toolchain) = toolchain {
        command.args(["run", toolchain, "cargo"]);
    }
    command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap());
    command
}

/// Has the JSON of each library crate made.
fn make(workspace: &Workspace, toolchain: Option<&str>) -> Vec<Library> {
    // Where what the libraries need is checked already.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/public_api/rustdoc.sh");
    // Always anew: another checkout that is built in the same folder leaves its own JSON there.
    let anew = RandomState::new().build_hasher().finish();
    let flags = format!("-Zunstable-options --output-format=json --cap-lints=allow --cfg=_{anew}");
    run(cargo(toolchain)
        .args(["doc", "--offline", "--workspace", "--lib", "--no-deps", "--features"])
        .arg(workspace.features())
        .env("CARGO_TARGET_DIR", target)
        .env("RUSTDOC", script)
        .env("RUSTDOCFLAGS", flags));
    let of = |package: &Value| {
        let name = package["name"].as_str().unwrap().replace('-', "_");
        let json = target.join("doc").join(&name).with_extension("json");
        let text = fs::read(&json).unwrap();
        let format = serde_json::from_slice::<Value>(&text).unwrap()["format_version"].as_u64();
        let manifest = Path::new(package["manifest_path"].as_str().unwrap());
        let folder = manifest.parent().unwrap().to_owned();
        Library { name, folder, json, format: format.unwrap() }
    };
    workspace.libraries().map(of).collect()
}

/// Has what the library crates show written down as JSON.
pub(crate) fn json() -> Vec<Library> {
    let workspace = Workspace::read(&mut cargo(None));
    let understood = |made: &[Library]| made.iter().all(|it| UNDERSTOOD.contains(&it.format));
    let mut made = make(&workspace, None);
    if !understood(&made) {
        let (toolchain, format) = (workspace.toolchain(), made[0].format);
        let installed = Command::new("rustup").args(["run", toolchain, "rustdoc", "-V"]).output();
        assert!(
            installed.is_ok_and(|output| output.status.success()),
            "rustdoc of the Rust in use writes JSON of the format {format}, and the crate `public-api` of this \
             workspace understands {UNDERSTOOD:?}. Either install a Rust that it understands beside yours, which this \
             test then finds:\n    rustup toolchain install {toolchain} --profile minimal\nor take a newer \
             `public-api`, and set the formats that it understands in {}",
            file!()
        );
        made = make(&workspace, Some(toolchain));
    }
    assert!(understood(&made), "not {UNDERSTOOD:?}: {made:?}");
    made
}
