//! Dominators and natural loops.
//!
//! A control-flow graph enters; the dominator tree (with a constant-time "dominates") and the loop nest leave.
//! Dominators are found with semidominators and path compression, so long chains with a shared exit stay near-linear.
//! Blocks that cannot be reached have no dominator and dominate nothing.

use super::cfg::Cfg;
use super::types::Block;

/// The dominator tree.
#[derive(Clone, Debug)]
pub struct DomTree {
    idom: Vec<Option<Block>>,
    preorder: Vec<Block>,
    /// Position in `preorder`, and one past the last of the subtree; (MAX, 0) when unreachable.
    span: Vec<(u32, u32)>,
}

/// Tables of the algorithm, by depth-first number.
struct Semi {
    parent: Vec<u32>,
    semi: Vec<u32>,
    label: Vec<u32>,
    ancestor: Vec<u32>,
    path: Vec<u32>,
}

const NONE: u32 = u32::MAX;

impl Semi {
    fn eval(&mut self, v: u32) -> u32 {
        if self.ancestor[v as usize] == NONE {
            return v;
        }
        let mut at = v;
        self.path.clear();
        while self.ancestor[self.ancestor[at as usize] as usize] != NONE {
            self.path.push(at);
            at = self.ancestor[at as usize];
        }
        while let Some(x) = self.path.pop() {
            let up = self.ancestor[x as usize];
            let (best, own) = (self.label[up as usize], self.label[x as usize]);
            if self.semi[best as usize] < self.semi[own as usize] {
                self.label[x as usize] = best;
            }
            self.ancestor[x as usize] = self.ancestor[up as usize];
        }
        self.label[v as usize]
    }
}

/// Depth-first numbering: blocks by number, and the number of each one's parent.
fn number(cfg: &Cfg) -> (Vec<Block>, Vec<u32>, Vec<u32>) {
    let mut number = vec![NONE; cfg.block_count()];
    let (mut vertex, mut parent) = (Vec::new(), Vec::new());
    let mut stack = Vec::new();
    if let Some(entry) = cfg.rpo().first() {
        stack.push((*entry, 0));
    }
    while let Some((block, from)) = stack.pop() {
        if number[block.index()] != NONE {
            continue;
        }
        let n = vertex.len() as u32;
        number[block.index()] = n;
        vertex.push(block);
        parent.push(from);
        for succ in cfg.succs(block).iter().rev() {
            if number[succ.index()] == NONE {
                stack.push((*succ, n));
            }
        }
    }
    (vertex, number, parent)
}

/// Immediate dominators by depth-first number.
fn immediate(cfg: &Cfg, vertex: &[Block], number: &[u32], parent: Vec<u32>) -> Vec<u32> {
    let n = vertex.len() as u32;
    let mut s = Semi {
        parent,
        semi: (0..n).collect(),
        label: (0..n).collect(),
        ancestor: vec![NONE; n as usize],
        path: Vec::new(),
    };
    let mut idom = vec![0u32; n as usize];
    let mut bucket_head = vec![NONE; n as usize];
    let mut bucket_next = vec![NONE; n as usize];
    for w in (1..n).rev() {
        for pred in cfg.preds(vertex[w as usize]) {
            let u = s.eval(number[pred.index()]);
            s.semi[w as usize] = s.semi[w as usize].min(s.semi[u as usize]);
        }
        let sd = s.semi[w as usize] as usize;
        bucket_next[w as usize] = std::mem::replace(&mut bucket_head[sd], w);
        let p = s.parent[w as usize];
        s.ancestor[w as usize] = p;
        let mut v = std::mem::replace(&mut bucket_head[p as usize], NONE);
        while v != NONE {
            let u = s.eval(v);
            idom[v as usize] = if s.semi[u as usize] < s.semi[v as usize] { u } else { p };
            v = bucket_next[v as usize];
        }
    }
    for w in 1..n as usize {
        if idom[w] != s.semi[w] {
            idom[w] = idom[idom[w] as usize];
        }
    }
    idom
}

impl DomTree {
    /// The dominators of a graph.
    pub fn new(cfg: &Cfg) -> DomTree {
        let (vertex, dfs, parent) = number(cfg);
        let by_number = immediate(cfg, &vertex, &dfs, parent);
        let mut idom = vec![None; cfg.block_count()];
        for (w, block) in vertex.iter().enumerate().skip(1) {
            idom[block.index()] = Some(vertex[by_number[w] as usize]);
        }
        let mut tree = DomTree { idom, preorder: Vec::new(), span: vec![(NONE, 0); cfg.block_count()] };
        tree.walk(cfg);
        tree
    }

    /// Preorder of the tree, siblings in reverse postorder of the graph.
    fn walk(&mut self, cfg: &Cfg) {
        let count = self.idom.len();
        let (mut first, mut next) = (vec![NONE; count], vec![NONE; count]);
        for block in cfg.rpo().iter().rev() {
            if let Some(up) = self.idom[block.index()] {
                next[block.index()] = std::mem::replace(&mut first[up.index()], block.0);
            }
        }
        let mut stack: Vec<u32> = cfg.rpo().first().map(|b| b.0).into_iter().collect();
        let mut open: Vec<u32> = Vec::new();
        while let Some(block) = stack.pop() {
            while let Some(top) = open.last()
                && self.idom[block as usize] != Some(Block(*top))
            {
                self.span[*top as usize].1 = self.preorder.len() as u32;
                open.pop();
            }
            self.span[block as usize].0 = self.preorder.len() as u32;
            self.preorder.push(Block(block));
            open.push(block);
            let at = stack.len();
            let mut child = first[block as usize];
            while child != NONE {
                stack.push(child);
                child = next[child as usize];
            }
            stack[at..].reverse();
        }
        for block in open {
            self.span[block as usize].1 = self.preorder.len() as u32;
        }
    }

    /// The nearest other block that every way to `block` goes through; `None` for the entry and unreachable blocks.
    pub fn idom(&self, block: Block) -> Option<Block> {
        self.idom.get(block.index()).copied().flatten()
    }

    /// Whether every way to `b` goes through `a`. A reachable block dominates itself.
    pub fn dominates(&self, a: Block, b: Block) -> bool {
        let (Some(a), Some(b)) = (self.span.get(a.index()), self.span.get(b.index())) else { return false };
        b.0 != NONE && a.0 <= b.0 && b.0 < a.1
    }

    /// Reachable blocks, each directly after its dominators' subtrees began: dominators first, subtrees contiguous.
    pub fn preorder(&self) -> &[Block] {
        &self.preorder
    }

    /// The part of [`DomTree::preorder`] that `block` dominates, itself first; empty if it is unreachable.
    pub fn subtree(&self, block: Block) -> &[Block] {
        match self.span[block.index()] {
            (NONE, _) => &[],
            (start, end) => &self.preorder[start as usize..end as usize],
        }
    }

    /// Dominance frontiers by block number: the join blocks that a block's dominance ends at.
    pub fn frontiers(&self, cfg: &Cfg) -> Vec<Vec<Block>> {
        let mut out: Vec<Vec<Block>> = vec![Vec::new(); self.idom.len()];
        for &join in cfg.rpo() {
            if cfg.preds(join).len() < 2 {
                continue;
            }
            let stop = self.idom(join);
            for &pred in cfg.preds(join) {
                let mut at = Some(pred);
                while let Some(block) = at
                    && at != stop
                    && out[block.index()].last() != Some(&join)
                {
                    out[block.index()].push(join);
                    at = self.idom(block);
                }
            }
        }
        out
    }
}

/// The natural loops. Irreducible cycles (a jump into the middle) are not loops here.
#[derive(Clone, Debug)]
pub struct Loops {
    /// For a header: the header of the loop around its loop; else that of the innermost loop.
    around: Vec<Option<Block>>,
    is_header: Vec<bool>,
    depth: Vec<u32>,
}

impl Loops {
    /// The loops of a graph: a back edge leads to a block that dominates its source.
    pub fn new(cfg: &Cfg, dom: &DomTree) -> Loops {
        let count = cfg.block_count();
        let mut loops =
            Loops { around: vec![None; count], is_header: vec![false; count], depth: vec![0; count] };
        // Inner headers come later in reverse postorder, so they are done first; `outer` leads from a block to the
        // header of the outermost loop found so far.
        let mut outer: Vec<u32> = (0..count as u32).collect();
        let mut work: Vec<Block> = Vec::new();
        for &head in cfg.rpo().iter().rev() {
            work.extend(cfg.preds(head).iter().filter(|p| dom.dominates(head, **p)));
            loops.is_header[head.index()] = !work.is_empty();
            while let Some(block) = work.pop() {
                let top = find(&mut outer, block.0);
                if top != head.0 {
                    outer[top as usize] = head.0;
                    loops.around[top as usize] = Some(head);
                    work.extend(cfg.preds(Block(top)));
                }
            }
        }
        for block in cfg.rpo() {
            let i = block.index();
            let around = loops.around[i].map_or(0, |h| loops.depth[h.index()]);
            loops.depth[i] = around + u32::from(loops.is_header[i]);
        }
        loops
    }

    /// Whether a back edge leads to the block.
    pub fn is_header(&self, block: Block) -> bool {
        self.is_header[block.index()]
    }

    /// Header of the innermost loop that the block is in (a header is in its own loop).
    pub fn header(&self, block: Block) -> Option<Block> {
        if self.is_header(block) { Some(block) } else { self.around[block.index()] }
    }

    /// Header of the loop around the loop of `header`.
    pub fn parent(&self, header: Block) -> Option<Block> {
        self.around[header.index()]
    }

    /// How many loops the block is in.
    pub fn depth(&self, block: Block) -> u32 {
        self.depth[block.index()]
    }
}

fn find(outer: &mut [u32], mut x: u32) -> u32 {
    while outer[x as usize] != x {
        outer[x as usize] = outer[outer[x as usize] as usize];
        x = outer[x as usize];
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::cfg::tests::function;

    fn analyse(graph: &[&[u32]]) -> (Cfg, DomTree, Loops) {
        let cfg = Cfg::new(&function(graph));
        let dom = DomTree::new(&cfg);
        let loops = Loops::new(&cfg, &dom);
        (cfg, dom, loops)
    }

    /// Whether `b` is unreachable from the entry when `a` is taken out.
    fn dominates_slowly(graph: &[&[u32]], a: u32, b: u32) -> bool {
        let mut seen = vec![false; graph.len()];
        let mut work = vec![0];
        while let Some(x) = work.pop() {
            if x != a && !std::mem::replace(&mut seen[x as usize], true) {
                work.extend(graph[x as usize].iter().take(2));
            }
        }
        !seen[b as usize]
    }

    #[test]
    fn agrees_with_the_definition_on_random_graphs() {
        let mut seed = 1u64;
        let mut random = |n: u32| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 33) as u32 % n
        };
        for _ in 0..300 {
            let n = 2 + random(14);
            let edges: Vec<Vec<u32>> =
                (0..n).map(|_| (0..random(3)).map(|_| 1 + random(n - 1)).collect()).collect();
            let graph: Vec<&[u32]> = edges.iter().map(Vec::as_slice).collect();
            let (cfg, dom, _) = analyse(&graph);
            for b in (0..n).filter(|b| cfg.is_reachable(Block(*b))) {
                for a in (0..n).filter(|a| cfg.is_reachable(Block(*a))) {
                    let want = dominates_slowly(&graph, a, b);
                    assert_eq!(dom.dominates(Block(a), Block(b)), want, "{graph:?}: {a} over {b}");
                }
                let strict: Vec<u32> =
                    (0..n).filter(|a| *a != b && dom.dominates(Block(*a), Block(b))).collect();
                let near = dom.idom(Block(b)).map(|d| d.0);
                assert!(strict.iter().all(|a| dom.dominates(Block(*a), Block(near.unwrap()))));
                assert_eq!(near.is_none(), strict.is_empty());
                assert_eq!(dom.subtree(Block(b))[0], Block(b));
            }
        }
    }

    #[test]
    fn nested_loops() {
        // 1 is the outer header, 2 the inner one, 3 the inner latch, 4 the outer latch.
        let (_, _, loops) = analyse(&[&[1], &[2, 5], &[3, 4], &[2], &[1], &[]]);
        let depths: Vec<u32> = (0..6).map(|b| loops.depth(Block(b))).collect();
        assert_eq!(depths, [0, 1, 2, 2, 1, 0]);
        assert_eq!(loops.header(Block(3)), Some(Block(2)));
        assert_eq!(loops.header(Block(4)), Some(Block(1)));
        assert_eq!(loops.parent(Block(2)), Some(Block(1)));
        assert_eq!((loops.header(Block(0)), loops.parent(Block(1))), (None, None));
        assert!(loops.is_header(Block(1)) && !loops.is_header(Block(4)));
    }

    #[test]
    fn frontier_of_a_diamond() {
        let (cfg, dom, _) = analyse(&[&[1, 2], &[3], &[3], &[]]);
        let df = dom.frontiers(&cfg);
        assert_eq!((&df[1][..], &df[2][..], &df[0][..]), (&[Block(3)][..], &[Block(3)][..], &[][..]));
    }
}
