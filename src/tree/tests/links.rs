//! Hard links.

use super::kit::{check, flawed};

#[test]
fn links_share_the_inode() {
    check(&["a=x b=>a"], "a=x b=>a");
    check(&["a=x b=>./a c=>/a d=>b"], "a=x b=>a c=>a d=>a");
    check(&["a=x b=>../../a"], "a=x b=>a");
    check(&["etc/p=x e->/etc b=>e/p"], "b=x e->/etc etc/ etc/p=>b");
    check(&["n%c1:3 n2=>n"], "n%c1:3 n2=>n");
    check(&["p%p q=>p"], "p%p q=>p");
}

#[test]
fn a_link_to_a_symbolic_link_is_that_link() {
    check(&["a->t b=>a"], "a->t b=>a");
    check(&["lp->/etc/passwd d=>lp etc/passwd"], "d->/etc/passwd etc/ etc/passwd lp=>d");
}

#[test]
fn links_reach_below() {
    check(&["a=x", "b=>a"], "a=x b=>a");
    check(&["a=A", "b=>a .wh.a"], "b=A");
    check(&["a=A", ".wh.a b=>a"], "b=A");
    check(&["d/a=A", "d/.wh..wh..opq d/b=>d/a"], "d/ d/b=A");
    flawed(&["a=A", ".wh.a", "b=>a"], "", &["2:b:LinkMissing"]);
    check(&["etc/p=x", "e->/etc b=>e/p"], "b=x e->/etc etc/ etc/p=>b");
    check(&["a=A", "b=>a c=>b"], "a=A b=>a c=>a");
    check(&["d/a=A", "d=>d/a"], "d=A");
}

#[test]
fn links_look_in_their_own_layer_first() {
    check(&["a=old", "a=new b=>a"], "a=new b=>a");
    check(&["a=old", "b=>a a=new"], "a=new b=>a");
    check(&["a=old b=old2", "b=>a"], "a=old b=>a");
}

#[test]
fn links_may_come_before_their_target() {
    check(&["b=>a a=x"], "a=x b=>a");
    check(&["c=>b b=>a a=x"], "a=x b=>a c=>a");
    check(&["b=>a c=>b a=x"], "a=x b=>a c=>a");
    check(&["d/e/b=>s/a s->t t/a=x"], "d/ d/e/ d/e/b=x s->t t/ t/a=>d/e/b");
    flawed(&["b=>a b=>a a=x"], "a=x b=>a", &["0:b:Duplicate"]);
    flawed(&["b=>a a=x b=y"], "a=x b=y", &["0:b:Duplicate"]);
    flawed(&["b=>a a=x b/c"], "a=x b/ b/c", &["0:b/c:ParentReplaced"]);
    flawed(&["b=>a c=>b b=y a=x"], "a=x b=y c=>a", &["0:b:Duplicate"]);
    let chain: String = (0..5000).map(|i| format!("l{i:04}=>l{:04} ", i + 1)).collect();
    let names: String = (1..5001).map(|i| format!(" l{i:04}=>l0000")).collect();
    check(&[&format!("{chain}l5000=x")], &format!("l0000=x{names}"));
}

#[test]
fn dangling_links_are_left_out() {
    flawed(&["x b=>nowhere"], "x", &["0:b:LinkMissing"]);
    flawed(&["x b=>no/where c=>../.."], "x", &["0:b:LinkMissing", "0:c:LinkToDirectory"]);
    flawed(&["a=>a"], "", &["0:a:LinkMissing"]);
    check(&["a=x a=>a"], "a=x");
    check(&["a=x", "a=>a"], "a=x");
    flawed(&["a=>b b=>a"], "", &["0:b:LinkMissing", "0:a:LinkMissing"]);
    check(&["b=x", "a=>b b=>a"], "a=x b=>a");
    flawed(&["d/ b=>d"], "d/", &["0:b:LinkToDirectory"]);
    flawed(&["d/x", "b=>d/"], "d/ d/x", &["1:b:LinkToDirectory"]);
    flawed(&["a->b b->a c=>a/x"], "a->b b->a", &["0:c:LinkLoop"]);
    flawed(&["a->b b->a", "c=>a/x z/x"], "a->b b->a z/ z/x", &["1:c:LinkLoop"]);
}

#[test]
fn a_dangling_link_spares_what_was_there() {
    flawed(&["b=old", "b=>nowhere"], "b=old", &["1:b:LinkMissing"]);
    flawed(&["x", "d/b=>nowhere x/b=>nowhere"], "x", &["1:d/b:LinkMissing", "1:x/b:LinkMissing"]);
    // Something of that name makes the link wait; what it took the place of comes back.
    flawed(&["b=old", "b=>no z/no"], "b=old z/ z/no", &["1:b:LinkMissing"]);
    flawed(&["b/x/y", "b=>no z/no"], "b/ b/x/ b/x/y z/ z/no", &["1:b:LinkMissing"]);
    flawed(
        &["b=old", "b=>no b=>no z/no"],
        "b=old z/ z/no",
        &["1:b:Duplicate", "1:b:LinkMissing", "1:b:LinkMissing"],
    );
    flawed(&["b=old x=n", "b=>x b=>no z/no"], "b=n x=>b z/ z/no", &["1:b:Duplicate", "1:b:LinkMissing"]);
}

#[test]
fn a_link_to_a_lost_link_gets_what_that_displaced() {
    flawed(&["b=x", "f=>b f=>no e=>f z/no"], "b=x e=>b f=>b z/ z/no", &["1:f:Duplicate", "1:f:LinkMissing"]);
    flawed(&["b/d/a=>a b/d=x c/a=>a"], "b/ b/d=x c/", &["0:b/d:Duplicate", "0:c/a:LinkMissing"]);
}

#[test]
fn a_waiting_link_hides_what_it_displaced() {
    flawed(&["d/x=1 e=>d/x d=>a f=>d/x a=2"], "a=2 d=>a e=1", &["0:d:Duplicate", "0:f:LinkMissing"]);
    flawed(&["d/x d=>a d/y a=1"], "a=1 d/ d/y", &["0:d:Duplicate", "0:d/y:ParentReplaced"]);
}

#[test]
fn the_tree_below_is_asked_as_it_was() {
    check(&["d/a=A e/a=B l->d", "b=>l/a l->e"], "b=A d/ d/a=>b e/ e/a=B l->e");
}

#[test]
fn the_first_entry_has_the_attributes() {
    check(&["a=x@0600,1:0,user.a=1 b=>a@4755,2:0,t9"], "a=x@0600,1:0,user.a=1 b=>a");
}

#[test]
fn replacing_one_name_leaves_the_others() {
    check(&["a=A b=>a", "a=A2"], "a=A2 b=A");
    check(&["a=A", "b=>a", "a=A3"], "a=A3 b=A");
    check(&["a=A b=>a", ".wh.a"], "b=A");
    flawed(&["a=one b=>a a=two"], "a=two b=one", &["0:a:Duplicate"]);
    flawed(&["d/a=1 b=>d/a d=2"], "b=1 d=2", &["0:d:Duplicate"]);
    flawed(&["d/a=1 d=>d/a"], "d=1", &["0:d:Duplicate"]);
    flawed(&["a=1 a/b=>a"], "a/ a/b=1", &["0:a/b:ParentReplaced"]);
}

/// Quadratic time would be 400 million steps here.
#[test]
fn dangling_links_in_one_place_cost_little() {
    let place = "f=>no ".repeat(20_000);
    let links: String = (0..20_000).map(|i| format!("e{i}=>f ")).collect();
    let (tree, _) = super::super::build_rootfs([super::kit::layer(&format!("z/no {place}{links}"))]);
    assert_eq!(super::kit::render(&tree), "z/ z/no");
}
