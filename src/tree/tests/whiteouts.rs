//! Whiteouts and opaque markers.

use super::kit::{alone, check, flawed};

const OPQ: &str = ".wh..wh..opq";

/// `check`, with `OPQ` in the layers standing for the marker's name.
#[track_caller]
fn check_opaque(layers: &[&str], expected: &str) {
    let layers: Vec<_> = layers.iter().map(|words| words.replace("OPQ", OPQ)).collect();
    check(&layers.iter().map(String::as_str).collect::<Vec<_>>(), expected);
}

#[test]
fn whiteouts_delete_what_lies_below() {
    check(&["file1 a/file2 b/ b/x c/file3", ".wh.file1 a/.wh.file2 .wh.b file4"], "a/ c/ c/file3 file4");
    check(&["x", "./ ./.wh.x"], "");
    check(&["test sub/test", ".wh.test"], "sub/ sub/test");
    check(&["a/x", ".wh.a", "a/ a/y"], "a/ a/y");
    check(&["dir1/dir2/foo", ".wh.dir1", "dir1/ dir1/dir2/"], "dir1/ dir1/dir2/");
}

#[test]
fn whiteouts_of_nothing_make_nothing() {
    check(&["keep", ".wh.nothing no/such/.wh.x keep/.wh.y"], "keep");
    check(&[".wh.x y"], "y");
}

#[test]
fn whiteouts_spare_their_own_layer() {
    check(&["x=old", ".wh.x x=new"], "x=new");
    check(&["x=old", "x=new .wh.x"], "x=new");
    check(&["k", "x=new .wh.x"], "k x=new");
    check(&["d/ d/old", ".wh.d d/ d/new"], "d/ d/new");
    check(&["d/ d/old", "d/ d/new .wh.d"], "d/ d/new");
    check(&["d/@0700 d/old", "d/new .wh.d"], "d/ d/new");
}

#[test]
fn markers_act_in_no_order() {
    check(&["foo/bar foo/baz", ".wh.foo foo/.wh.bar"], "");
    check(&["foo/bar foo/baz", "foo/.wh.bar .wh.foo"], "");
    check(&["r/w r/k l->r", ".wh.l l/.wh.w"], "r/ r/k r/w");
    check(&["r/w r/k l->r", "l/.wh.w .wh.l"], "r/ r/k r/w");
}

#[test]
fn whiteouts_and_symbolic_links() {
    check(&["etc/p le->/etc", ".wh.le"], "etc/ etc/p");
    check(&["etc/p etc/w le->/etc", "le/.wh.w"], "etc/ etc/p le->/etc");
    check(&["le->/dne", "le/.wh.etc"], "le->/dne");
    flawed(&["a->b b->a x", "a/.wh.x"], "a->b b->a x", &["1:a/.wh.x:ParentLoop"]);
    // What stands in the link's place has nothing below it, and where the link led is not meant: `rm le && mkdir le` in a
    // container of buildah's.
    check(&["r/w le->r", "le/ le/.wh.w"], "le/ r/ r/w");
    check(&["r/w le->r", "le/.wh.w le/"], "le/ r/ r/w");
    check_opaque(&["usr/lib/c lib->usr/lib", "lib/ lib/OPQ lib/foo"], "lib/ lib/foo usr/ usr/lib/ usr/lib/c");
    check_opaque(&["r/s/w le->r", ".wh.le le/ le/s/ le/s/OPQ"], "le/ le/s/ r/ r/s/ r/s/w");
    // The link is stated again: it leads where it led.
    check(&["r/w le->r", "le->r le/.wh.w"], "le->r r/");
}

#[test]
fn whiteout_names_are_cleaned_first() {
    flawed(&["etc/passwd", "dne/../.wh.etc"], "", &["1:dne/../.wh.etc:DotDot"]);
    flawed(&["etc x", "../.wh.etc"], "x", &["1:../.wh.etc:DotDot"]);
    flawed(&["x/a", "x/.wh.a/b/.."], "x/", &["1:x/.wh.a/b/..:DotDot"]);
    check(&["x/a", "x/.wh.a/./"], "x/");
}

#[test]
fn markers_act_whatever_they_are() {
    check(&["x", ".wh.x/"], "");
    check(&["x", ".wh.x->y"], "");
    check(&["x", ".wh.x=>y"], "");
    check(&["x", ".wh.x=data"], "");
    check(&["x", ".wh.x%c0:0"], "");
}

#[test]
fn overlay_markers_mean_nothing() {
    check(&["x=old", "x%c0:0"], "x%c0:0");
    check(&["d/x", "d/@trusted.overlay.opaque=y d/y"], "d/@trusted.overlay.opaque=y d/x d/y");
}

#[test]
fn invalid_markers_never_delete() {
    for name in [".wh.", ".wh..", ".wh..."] {
        let problem = format!("1:{name}:BadMarker");
        flawed(&["etc/p", name], "etc/ etc/p", &[&problem]);
        let name = format!("etc/{name}");
        let problem = format!("1:{name}:BadMarker");
        flawed(&["etc/p", &name], "etc/ etc/p", &[&problem]);
    }
    flawed(&[".wh. x"], "x", &["0:.wh.:BadMarker"]);
}

#[test]
fn only_the_last_component_is_a_marker() {
    check(&["etc/p", ".wh.etc/f"], ".wh.etc/ .wh.etc/f etc/ etc/p");
    check(&[".baz baz", ".wh..baz"], "baz");
    check(&["x", ".WH.x"], ".WH.x x");
    check(&["x", "y.wh.x .whx"], ".whx x y.wh.x");
}

#[test]
fn aufs_metadata_is_hidden_and_deletes_nothing() {
    check(&["y .wh.y x", ".wh..wh.y"], "x y");
    check(&["a/x", "a/.wh..wh.opq"], "a/ a/x");
    check(
        &["x", ".wh..wh.plnk/ .wh..wh.plnk/1.2=data .wh..wh.orph/ .wh..wh.aufs y=>.wh..wh.plnk/1.2"],
        "x y=data",
    );
    check(&["d/k", "d/.wh..wh.plnk/ d/.wh..wh.plnk/1=a d/x=>d/.wh..wh.plnk/1"], "d/ d/k d/x=a");
    check(&["x", "y=>.wh..wh.plnk/1.2 .wh..wh.plnk/1.2=data z=>y"], "x y=data z=>y");
    flawed(&[".wh..wh.plnk/1=a", "y=>.wh..wh.plnk/1"], "", &["1:y:LinkMissing"]);
    check(&["s->.wh..wh.plnk", "s/x"], "s->.wh..wh.plnk");
}

#[test]
fn opaque_directories_keep_what_their_layer_has() {
    let expected = "a/ a/b/ a/b/c/ a/b/c/foo";
    check_opaque(&["a/b/c/bar", "a/ a/OPQ a/b/ a/b/c/ a/b/c/foo"], expected);
    check_opaque(&["a/b/c/bar", "a/ a/b/ a/b/c/ a/b/c/foo a/OPQ"], expected);
    check_opaque(&["x d/y", "new OPQ"], "new");
    check_opaque(&["a/x a/y", "a/OPQ a/.wh.x a/y=newy"], "a/ a/y=newy");
    check_opaque(&["a/x", "a/OPQ a/y", "a/z"], "a/ a/y a/z");
    check_opaque(&["a/x", "a/OPQ/"], "a/");
    check_opaque(&["a/x", "a/OPQ->x"], "a/");
}

#[test]
fn opaque_markers_leave_the_directory_itself() {
    check_opaque(&["a/@0700 a/x", "a/OPQ a/new"], "a/@0700 a/new");
    check_opaque(&["d/@0711,4:0,t7 d/x", "d/OPQ"], "d/@0711,4:0,t7");
    check_opaque(&["d/@0711 d/x", "d/@0700 d/OPQ"], "d/@0700");
}

#[test]
fn opaque_markers_without_a_directory() {
    check_opaque(&["x", "nodir/OPQ"], "x");
    check_opaque(&["a=file", "a/OPQ a/new"], "a/ a/new");
    check_opaque(&["a=file", "a/OPQ"], "a=file");
    check_opaque(&["real/x a->real", "a/OPQ a/new"], "a->real real/ real/new");
}

#[test]
fn a_layer_alone_shows_its_markers() {
    alone("x .wh.y d/.wh..wh..opq d/ d/z", ".wh.y d/ d/.wh..wh..opq d/z x", &[]);
    alone(
        ".wh.x/ .wh.s->t .wh. .wh.. .wh..wh.plnk/1=a",
        ".wh. .wh.. .wh..wh.plnk/ .wh..wh.plnk/1=a .wh.s->t .wh.x/",
        &[],
    );
    alone("y=>.wh..wh.plnk/1 .wh..wh.plnk/1=a", ".wh..wh.plnk/ .wh..wh.plnk/1=a y=>.wh..wh.plnk/1", &[]);
    alone("a b=>a c=>lower d=>./", "a b=>a", &["0:d:LinkToDirectory"]);
    alone("a/x .wh.a", ".wh.a a/ a/x", &[]);
}
