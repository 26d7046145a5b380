//! Modules of a crate name each other one way only, be it over several: a circle of them
//! can be read from no end. A module and its sub-modules are one seen from outside, and
//! are looked at by themselves inside. Files that add to one type may name each other.

use std::collections::{BTreeMap, BTreeSet};

use crate::tidy::paths::{self, Named};
use crate::tidy::rust;
use crate::tidy::tree::Tree;

/// The way to a module from the root of its crate, which is empty.
type Way = Vec<String>;

/// How many re-exports lead from a name to its module, at most.
const MOST_HOPS: usize = 8;

pub(super) fn check(tree: &Tree, wrong: &mut Vec<String>) {
    for name in tree.crates() {
        let modules = Modules::read(tree, name);
        for (parent, graph) in modules.graphs() {
            let within = match parent.as_slice() {
                [] => format!("crates/{name}"),
                parent => format!("crates/{name}, module {}", parent.join("::")),
            };
            for circle in graph.circles() {
                wrong.push(format!(
                    "{within}: modules name each other in a circle: {}. Move what both need to \
                     where it belongs",
                    circle.join(", ")
                ));
            }
        }
    }
}

/// A module's file.
struct Module<'a> {
    file: &'a str,
    /// What it names.
    named: Vec<Named>,
    /// Types that it adds to.
    extended: Vec<Vec<String>>,
}

/// The modules of a crate; those for tests alone are left out.
struct Modules<'a>(BTreeMap<Way, Module<'a>>);

impl<'a> Modules<'a> {
    fn read(tree: &'a Tree, name: &str) -> Self {
        let mut modules = BTreeMap::new();
        let source = format!("crates/{name}/src");
        let root = ["lib", "main"].map(|root| format!("{source}/{root}.rs"));
        let mut next: Vec<(Way, String)> = root
            .into_iter()
            .filter(|root| tree.has(root))
            .take(1)
            .map(|r| (Way::new(), r))
            .collect();
        while let Some((way, file)) = next.pop() {
            let Some((file, text, code)) = tree.rust_file(&file) else { continue };
            let code = rust::without_tests(code);
            let folder = [std::slice::from_ref(&source), way.as_slice()].concat().join("/");
            for module in rust::modules(text, &code) {
                let inner = [way.as_slice(), &[module.name.to_owned()]].concat();
                for file in [
                    format!("{folder}/{}.rs", module.name),
                    format!("{folder}/{}/mod.rs", module.name),
                ] {
                    next.push((inner.clone(), file));
                }
            }
            let (named, extended) = (paths::named(&code), paths::extended(&code));
            modules.insert(way, Module { file, named, extended });
        }
        Self(modules)
    }

    /// The module in which a path ends that stands in module `from`; nothing if it leads
    /// out of the crate.
    fn home(&self, from: &[String], path: &[String], hops: usize) -> Option<Way> {
        let (head, mut rest) = path.split_first()?;
        let mut way = match head.as_str() {
            "crate" => Way::new(),
            "self" => from.to_vec(),
            "super" => from.split_last()?.1.to_vec(),
            _ => {
                rest = path;
                from.to_vec()
            }
        };
        while let Some((segment, after)) = rest.split_first() {
            let inner = [way.as_slice(), std::slice::from_ref(segment)].concat();
            if segment == "super" {
                way.pop()?;
            } else if self.0.contains_key(&inner) {
                way = inner;
            } else {
                break;
            }
            rest = after;
        }
        let is_left = way == from && !["crate", "self", "super"].contains(&head.as_str());
        let through =
            rest.first().and_then(|name| self.brought_in(&way, name)).filter(|_| hops < MOST_HOPS);
        match through {
            Some(path) => self.home(&way, path, hops + 1).or((!is_left).then_some(way)),
            None => (!is_left).then_some(way),
        }
    }

    /// The path that a `use` of the module gives this name.
    fn brought_in(&self, way: &[String], name: &str) -> Option<&[String]> {
        let named = &self.0.get(way)?.named;
        let found = named.iter().find(|one| one.name.as_deref() == Some(name))?;
        Some(&found.path)
    }

    /// Which sub-modules of a module name which, by the way to the module.
    fn graphs(&self) -> BTreeMap<Way, Graph> {
        let mut graphs = BTreeMap::<Way, Graph>::new();
        for (way, module) in &self.0 {
            for path in &module.extended {
                if let Some((at, from, to)) =
                    self.home(way, path, 0).and_then(|home| part(way, &home))
                {
                    graphs.entry(at).or_default().adds(from, to, path);
                }
            }
            for one in &module.named {
                if let Some((at, from, to)) =
                    self.home(way, &one.path, 0).and_then(|home| part(way, &home))
                {
                    let place = format!("{}:{}", module.file, one.line);
                    graphs.entry(at).or_default().arrow(from, to, place);
                }
            }
        }
        graphs
    }
}

/// Where two ways part, and the module on each of them there; nothing if one leads to
/// the other.
fn part(from: &[String], to: &[String]) -> Option<(Way, String, String)> {
    let common = from.iter().zip(to).take_while(|(a, b)| a == b).count();
    Some((from[..common].to_vec(), from.get(common)?.clone(), to.get(common)?.clone()))
}

/// Which modules name which.
#[derive(Default)]
struct Graph {
    /// The first place of each arrow.
    arrows: BTreeMap<(String, String), String>,
    /// The modules that a type consists of, by the one that it stands in and its name.
    types: BTreeMap<(String, String), BTreeSet<String>>,
}

impl Graph {
    fn arrow(&mut self, from: String, to: String, place: String) {
        self.arrows.entry((from, to)).or_insert(place);
    }

    /// Module `from` adds to a type of module `to`.
    fn adds(&mut self, from: String, to: String, path: &[String]) {
        let name = path.last().cloned().unwrap_or_default();
        let modules = self.types.entry((to.clone(), name)).or_default();
        modules.extend([from, to]);
    }

    /// The arrows of each circle, in words.
    fn circles(&self) -> Vec<Vec<String>> {
        let mut next = BTreeMap::<&str, BTreeSet<&str>>::new();
        for (from, to) in self.arrows.keys() {
            next.entry(from).or_default().insert(to);
        }
        let reached: BTreeMap<&str, BTreeSet<&str>> =
            next.keys().map(|from| (*from, reached(&next, from))).collect();
        let reaches = |from: &str, to: &str| reached.get(from).is_some_and(|all| all.contains(to));
        let mut circles = BTreeMap::<BTreeSet<&str>, Vec<String>>::new();
        for ((from, to), place) in &self.arrows {
            if reaches(to, from) {
                let members = next.keys().filter(|one| reaches(from, one) && reaches(one, from));
                let arrow = format!("`{from}` names `{to}` ({place})");
                circles.entry(members.copied().collect()).or_default().push(arrow);
            }
        }
        circles.retain(|members, _| !self.is_of_one_type(members));
        circles.into_values().collect()
    }

    fn is_of_one_type(&self, members: &BTreeSet<&str>) -> bool {
        self.types.values().any(|modules| members.iter().all(|member| modules.contains(*member)))
    }
}

/// What can be reached from a module, by one arrow at least.
fn reached<'a>(next: &BTreeMap<&'a str, BTreeSet<&'a str>>, from: &str) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::new();
    let mut open: Vec<&str> = next.get(from).into_iter().flatten().copied().collect();
    while let Some(module) = open.pop() {
        if found.insert(module) {
            open.extend(next.get(module).into_iter().flatten().copied());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::findings;

    /// What is said of a crate of these modules.
    fn of(files: &[(&str, &str)]) -> Vec<String> {
        let mut all = vec![("crates/a/Cargo.toml".to_owned(), "")];
        all.extend(files.iter().map(|(file, text)| (format!("crates/a/src/{file}"), *text)));
        let all: Vec<(&str, &str)> =
            all.iter().map(|(file, text)| (file.as_str(), *text)).collect();
        findings(check, &all)
    }

    const NONE: [String; 0] = [];

    #[test]
    fn two_modules_that_name_each_other_are_found_with_their_lines() {
        let mut files = [
            ("lib.rs", "mod b;\nmod c;\n"),
            ("b.rs", "//! B.\nuse crate::c::C;\n"),
            ("c.rs", "fn c(b: crate::b::B) {}\n"),
        ];
        let wrong = of(&files);
        assert_eq!(wrong.len(), 1, "{wrong:?}");
        assert!(wrong[0].starts_with("crates/a: modules name each other in a circle: "));
        assert!(wrong[0].contains("`b` names `c` (crates/a/src/b.rs:2)"), "{wrong:?}");
        assert!(wrong[0].contains("`c` names `b` (crates/a/src/c.rs:1)"), "{wrong:?}");
        files[2].1 = "// crate::b::B\nfn c(b: &str) { \"crate::b\"; }\n";
        assert_eq!(of(&files), NONE);
    }

    #[test]
    fn a_circle_over_several_modules_is_one_finding() {
        let files = [
            ("lib.rs", "mod b;\nmod c;\nmod d;\nmod e;\n"),
            ("b.rs", "use crate::c::C;\nuse crate::e::E;\n"),
            ("c.rs", "use super::d::D;\n"),
            ("d.rs", "use crate::{b::{self, B}};\n"),
            ("e.rs", "\n"),
        ];
        let wrong = of(&files);
        assert_eq!(wrong.len(), 1, "{wrong:?}");
        assert!(wrong[0].contains("`d` names `b`") && !wrong[0].contains("`e`"), "{wrong:?}");
    }

    /// `use crate::C` is of the module that has `C`, however it got there.
    #[test]
    fn a_circle_through_what_the_root_exports_is_found() {
        let files = [
            ("lib.rs", "mod b;\nmod c;\npub use b::B;\npub use c::inner::C as Out;\n"),
            ("b.rs", "use crate::Out;\n"),
            ("c/mod.rs", "pub mod inner;\n"),
            ("c/inner.rs", "use crate::B;\n"),
        ];
        let wrong = of(&files);
        assert_eq!(wrong.len(), 1, "{wrong:?}");
        assert!(wrong[0].contains("`c` names `b` (crates/a/src/c/inner.rs:1)"), "{wrong:?}");
    }

    #[test]
    fn a_module_and_its_own_parts_make_no_circle_but_two_parts_do() {
        let mut files = [
            ("lib.rs", "mod b;\n"),
            ("b/mod.rs", "mod c;\nmod d;\nuse c::C;\nuse d::D;\n"),
            ("b/c.rs", "use super::{B, D};\n"),
            ("b/d.rs", "use super::B;\n"),
        ];
        assert_eq!(of(&files), NONE);
        files[3].1 = "use crate::b::c::C;\n";
        let wrong = of(&files);
        assert_eq!(wrong.len(), 1, "{wrong:?}");
        assert!(wrong[0].starts_with("crates/a, module b: "), "{wrong:?}");
    }

    #[test]
    fn tests_may_name_what_they_like() {
        let files = [
            ("lib.rs", "mod b;\nmod c;\n#[cfg(test)]\nmod tests;\n"),
            ("b.rs", "use crate::c::C;\n"),
            ("c.rs", "#[cfg(test)]\nmod tests {\n    use crate::b::B;\n}\n"),
            ("tests.rs", "use crate::b::B;\n"),
        ];
        assert_eq!(of(&files), NONE);
    }

    #[test]
    fn files_that_add_to_one_type_may_name_each_other() {
        let mut files = [
            ("lib.rs", "mod b;\nmod c;\nmod d;\n"),
            ("b.rs", "use crate::c::C;\nstruct B;\n"),
            ("c.rs", "use crate::b::B;\nimpl B {\n}\n"),
            ("d.rs", "\n"),
        ];
        assert_eq!(of(&files), NONE);
        // A third one is not of them.
        files[1].1 = "use crate::c::C;\nuse crate::d::D;\nstruct B;\n";
        files[3].1 = "use crate::c::C;\n";
        let wrong = of(&files);
        assert_eq!(wrong.len(), 1, "{wrong:?}");
        assert!(
            wrong[0].contains("`d` names `c`") && wrong[0].contains("`b` names `d`"),
            "{wrong:?}"
        );
        files[2].1 = "use crate::b::B;\nimpl Clone for B {\n}\n";
        files[3].1 = "\n";
        assert_eq!(of(&files).len(), 1, "a trait's are not");
    }
}
