//! Replacement, parents and the root.

use super::kit::{check, flawed};

#[test]
fn one_type_replaces_another() {
    check(&["p=file", "p/ p/c"], "p/ p/c");
    check(&["p=file", "p/c"], "p/ p/c");
    check(&["p%c1:3", "p/c"], "p/ p/c");
    check(&["p/ p/c", "p=file"], "p=file");
    check(&["p/ p/c/d/e", "p->q"], "p->q");
    check(&["t=t p->t", "p=new"], "p=new t=t");
    check(&["t=t p->t", "p->else"], "p->else t=t");
    check(&["p=f", "p%p"], "p%p");
}

#[test]
fn a_directory_entry_replaces_a_symbolic_link() {
    check(&["usr/lib/libc lib->usr/lib", "lib/ lib/foo"], "lib/ lib/foo usr/ usr/lib/ usr/lib/libc");
}

#[test]
fn symlinked_parents_are_followed() {
    check(&["usr/lib/libc lib->usr/lib", "lib/foo"], "lib->usr/lib usr/ usr/lib/ usr/lib/foo usr/lib/libc");
    check(&["usr/lib/libc lib->/usr/lib", "lib/foo"], "lib->/usr/lib usr/ usr/lib/ usr/lib/foo usr/lib/libc");
    check(&["lib->usr/lib", "lib/foo"], "lib->usr/lib usr/ usr/lib/ usr/lib/foo");
    check(&["usr/lib/ lib->usr/lib lib/foo"], "lib->usr/lib usr/ usr/lib/ usr/lib/foo");
    check(&["lib->../../../../tmp", "lib/f"], "lib->../../../../tmp tmp/ tmp/f");
    check(&["a/b/ a/l->../c/./ c/", "a/l/x"], "a/ a/b/ a/l->../c/./ c/ c/x");
    check(&["b->c c->d d/ ", "b/x/y"], "b->c c->d d/ d/x/ d/x/y");
}

/// A file that the path does not name became a directory, and nothing was said.
#[test]
fn no_file_behind_a_symbolic_link_makes_room() {
    flawed(
        &["etc/passwd=root p->etc/passwd", "p/x q"],
        "etc/ etc/passwd=root p->etc/passwd q",
        &["1:p/x:ParentNotDirectory"],
    );
    flawed(&["f=1 l->f l/x"], "f=1 l->f", &["0:l/x:ParentNotDirectory"]);
    flawed(
        &["usr/lib/f=1 lib->usr/lib", "lib/f/x"],
        "lib->usr/lib usr/ usr/lib/ usr/lib/f=1",
        &["1:lib/f/x:ParentNotDirectory"],
    );
    flawed(&["f%p l->f a=x", "l/b=>a"], "a=x f%p l->f", &["1:l/b:ParentNotDirectory"]);
    check(&["f=1 l->f", "l/ l/x"], "f=1 l/ l/x");
    check(&["f=1 l->g", "l/x"], "f=1 g/ g/x l->g");
}

#[test]
fn loops_of_symbolic_links_end() {
    flawed(&["a->b b->a", "a/x y"], "a->b b->a y", &["1:a/x:ParentLoop"]);
    flawed(&["a->a", "a/x"], "a->a", &["1:a/x:ParentLoop"]);
    flawed(&["a->a/b", "a/x"], "a->a/b", &["1:a/x:ParentLoop"]);
    let chain = |links: u32| (0..links).map(|i| format!("l{i:02}->l{:02} ", i + 1)).collect::<String>();
    let words = |links| format!("{} l{links:02}/", chain(links));
    check(&[&words(40), "l00/x"], &format!("{}l40/ l40/x", chain(40)));
    flawed(&[&words(41), "l00/x"], &format!("{}l41/", chain(41)), &["1:l00/x:ParentLoop"]);
}

#[test]
fn many_steps_behind_symbolic_links_end() {
    let long = "x/../".repeat(800);
    let mut words: String = (0..39).map(|i| format!("l{i}->{long}l{} ", i + 1)).collect();
    words.push_str("l39/ x/ ");
    let together: String = (0..100).map(|i| format!("l0/f{i} ")).collect();
    let (_, problems) = super::super::build_rootfs([super::kit::layer(&format!("{words}{together}"))]);
    assert_eq!(problems, [], "the last directory is remembered");
    let apart: String = (0..100).map(|i| format!("l0/f{i} d{i}/f ")).collect();
    let (_, problems) = super::super::build_rootfs([super::kit::layer(&format!("{words}{apart}"))]);
    let names = super::kit::complaints(&problems);
    assert!(!names.is_empty() && names.iter().all(|name| name.ends_with("TooManySteps")), "{names:?}");
}

/// Each entry cost 3.3 MB of copying: the targets were put together, and never walked.
#[test]
fn long_targets_behind_symbolic_links_count() {
    let long = "x".repeat(4000);
    let links: String = (0..41).map(|i| format!("l{i}->l{}/{long} ", i + 1)).collect();
    let entries: String = (0..100).map(|i| format!("l0/f{i} ")).collect();
    let (_, problems) = super::super::build_rootfs([super::kit::layer(&format!("{links}{entries}"))]);
    let names = super::kit::complaints(&problems);
    let loops = names.iter().filter(|name| name.ends_with("ParentLoop")).count();
    assert!(names.len() == 100 && (1..20).contains(&loops), "{loops} of {names:?}");
    let hard: String = (0..100).map(|i| format!("h{i}=>l0/f ")).collect();
    let (_, problems) = super::super::build_rootfs([super::kit::layer(&format!("{links}{hard}"))]);
    let names = super::kit::complaints(&problems);
    let loops = names.iter().filter(|name| name.ends_with("LinkLoop")).count();
    let steps = names.iter().filter(|name| name.ends_with("TooManySteps")).count();
    assert!(loops > 0 && steps > 0 && loops + steps == 100, "{names:?}");
}

#[test]
fn links_and_directories_change_places_inside_a_layer() {
    flawed(
        &["foo/ foo/tmp/b foo->/ foo/tmp/b=2 foo/ foo/tmp/ foo/tmp/b=3"],
        "foo/ foo/tmp/ foo/tmp/b=3 tmp/ tmp/b=2",
        &["0:foo:Duplicate", "0:foo/:Duplicate"],
    );
    check(
        &["localetc/ etc/passwd", "localetc->/etc localetc/x=>etc/passwd"],
        "etc/ etc/passwd etc/x=>etc/passwd localetc->/etc",
    );
}

#[test]
fn a_stated_directory_gets_all_that_is_stated() {
    check(&["d/@0700,5:6 d/x", "d/@1777,7:8"], "d/@1777,7:8 d/x");
    check(&["d/@0700,5:6,t9", "d/y"], "d/@0700,5:6,t9 d/y");
    check(&["d/@user.a=1", "d/@user.b=2"], "d/@user.b=2");
    check(&["d/@user.a=1", "d/"], "d/");
    check(&["a/c a/@0700,9:0"], "a/@0700,9:0 a/c");
    check(&["a/b/c@0644,1:0"], "a/ a/b/ a/b/c@1:0");
}

#[test]
fn the_last_of_several_wins() {
    flawed(&["x=one x=two"], "x=two", &["0:x:Duplicate"]);
    flawed(&["x=one x/ x/y"], "x/ x/y", &["0:x/:Duplicate"]);
    flawed(&["x/ x/y x=one"], "x=one", &["0:x:Duplicate"]);
    flawed(&["x/y x=one"], "x=one", &["0:x:Duplicate"]);
    flawed(&["x=one x/y"], "x/ x/y", &["0:x/y:ParentReplaced"]);
    flawed(&["d/ d/x d/@0700"], "d/@0700 d/x", &["0:d/:Duplicate"]);
    flawed(&["x=1", "x=2 x=3", "x=4"], "x=4", &["1:x:Duplicate"]);
}

#[test]
fn the_root_has_attributes() {
    for name in ["./", "/", ".", "//./"] {
        check(
            &["x", &format!("{name}@0700,3:4,t5,user.a=1")]
                .map(|words| words.replace(".@", "./@"))
                .each_ref()
                .map(String::as_str),
            "/@0700,3:4,t5,user.a=1 x",
        );
    }
    check(&["./@0700", "./@0711"], "/@0711");
    check(&["./@0700 x", "y"], "/@0700 x y");
}

#[test]
fn the_root_stays_a_directory() {
    for (name, word) in [("./", "./=data"), (".", ".->etc"), ("", "=data"), ("/", "/=>x"), (".", ".%p")] {
        flawed(&["x", word], "x", &[&format!("1:{name}:RootNotDirectory")]);
    }
    flawed(&["x", "a/..->y"], "x", &["1:a/..:DotDot", "1:a/..:RootNotDirectory"]);
}

#[test]
fn layers_apply_in_order() {
    let layers: Vec<_> = (0..32).map(|i| format!("x={i} d/f{i:02}={i}")).collect();
    let layers: Vec<_> = layers.iter().map(String::as_str).collect();
    let files: String = (0..32).map(|i| format!("d/f{i:02}={i} ")).collect();
    check(&layers, &format!("d/ {files}x=31"));
    check(&["x=1", ".wh.x q", "x=1"], "q x=1");
    check(&[], "");
}
