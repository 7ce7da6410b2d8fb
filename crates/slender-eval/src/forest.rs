//! What rows share, as a forest: tokens that begin several rows are read once for all of them.
//!
//! The choices of a question follow one context, the questions of TruthfulQA one primer. A node is a run of
//! tokens after its parent's; a row is the path from a root to where it ends. Under causal attention a
//! token's hidden state depends on the tokens before it only, so it serves every row through it.
//!
//! A node costs a few calls per layer, so what is shared becomes a node of its own only when that saves
//! [`MIN_SAVED`] tokens.

/// Tokens that a node must save to be worth its calls.
const MIN_SAVED: usize = 2;

/// A run of tokens.
#[derive(Debug)]
pub(crate) struct Node {
    /// The node it follows.
    pub(crate) parent: Option<usize>,
    /// Position of its first token in every row through it.
    pub(crate) start: usize,
    /// Place of its first token in [`Forest::tokens`].
    pub(crate) offset: usize,
    /// Number of its tokens, at least one.
    pub(crate) len: usize,
}

/// Rows with what they share stored once.
#[derive(Debug, Default)]
pub(crate) struct Forest {
    /// Parents stand before their children.
    pub(crate) nodes: Vec<Node>,
    /// The tokens of all nodes, one node after another.
    pub(crate) tokens: Vec<u32>,
    /// Position of each token in its rows.
    pub(crate) positions: Vec<usize>,
    /// The last node of each row; `None` for a row without tokens.
    ends: Vec<Option<usize>>,
}

impl Forest {
    /// The forest of `rows`, which keep their numbers.
    pub(crate) fn new(rows: &[&[u32]]) -> Self {
        let mut order: Vec<usize> = (0..rows.len()).collect();
        order.sort_unstable_by_key(|&row| rows[row]);
        let mut forest = Self {
            ends: vec![None; rows.len()],
            ..Self::default()
        };
        forest.grow(rows, &order, 0, None);
        forest
    }

    /// Adds what follows the first `depth` tokens of the rows in `order`, which they share.
    fn grow(&mut self, rows: &[&[u32]], order: &[usize], depth: usize, parent: Option<usize>) {
        let (Some(&first), Some(&last)) = (order.first(), order.last()) else {
            return;
        };
        let shared = common(rows[first], rows[last]);
        let branches = |order: &[usize]| {
            let token = |row: &usize| rows[*row].get(shared).copied();
            let mut groups: Vec<(usize, usize)> = Vec::new();
            for (i, row) in order.iter().enumerate() {
                match groups.last_mut() {
                    Some((from, to)) if token(&order[*from]) == token(row) => *to = i + 1,
                    _ => groups.push((i, i + 1)),
                }
            }
            groups
        };
        let branches = branches(order);
        let saved = (shared - depth) * (branches.len() - 1);
        let (depth, parent) = if branches.len() == 1 || saved >= MIN_SAVED {
            (shared, self.add(&rows[first][depth..shared], depth, parent))
        } else {
            (depth, parent)
        };
        for (from, to) in branches {
            let order = &order[from..to];
            if rows[order[0]].len() == shared {
                let end = self.add(&rows[order[0]][depth..], depth, parent);
                for &row in order {
                    self.ends[row] = end;
                }
            } else {
                self.grow(rows, order, depth, parent);
            }
        }
    }

    /// A node of `tokens`, or `parent` itself if there are none.
    fn add(&mut self, tokens: &[u32], start: usize, parent: Option<usize>) -> Option<usize> {
        if tokens.is_empty() {
            return parent;
        }
        self.nodes.push(Node {
            parent,
            start,
            offset: self.tokens.len(),
            len: tokens.len(),
        });
        self.tokens.extend_from_slice(tokens);
        self.positions.extend(start..start + tokens.len());
        Some(self.nodes.len() - 1)
    }

    /// The nodes from a root to `node`, in order.
    pub(crate) fn path(&self, node: usize) -> Vec<usize> {
        let mut path: Vec<usize> =
            std::iter::successors(Some(node), |&node| self.nodes[node].parent).collect();
        path.reverse();
        path
    }

    /// The last node of a row.
    pub(crate) fn end(&self, row: usize) -> Option<usize> {
        self.ends[row]
    }

    /// Where position `position` of `row` stands in [`Forest::tokens`].
    pub(crate) fn place(&self, row: usize, position: usize) -> Option<usize> {
        let mut node = &self.nodes[self.ends[row]?];
        while position < node.start {
            node = &self.nodes[node.parent?];
        }
        (position < node.start + node.len).then(|| node.offset + position - node.start)
    }
}

/// Length of what two rows have in common at their beginning.
pub(crate) fn common(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(forest: &Forest, row: usize) -> Vec<u32> {
        let path = forest
            .end(row)
            .map_or_else(Vec::new, |end| forest.path(end));
        let runs = path.iter().map(|&node| {
            let node = &forest.nodes[node];
            &forest.tokens[node.offset..node.offset + node.len]
        });
        runs.flatten().copied().collect()
    }

    #[test]
    fn choices_share_their_context() {
        let rows: [&[u32]; 4] = [&[1, 2, 3, 4], &[1, 2, 3], &[1, 2, 3, 5, 6], &[9, 9]];
        let forest = Forest::new(&rows);
        assert_eq!(forest.tokens.len(), 3 + 1 + 2 + 2);
        for (i, row) in rows.iter().enumerate() {
            assert_eq!(read(&forest, i), *row);
        }
        assert_eq!(forest.place(2, 1), forest.place(0, 1));
        assert_ne!(forest.place(2, 3), forest.place(0, 3));
        assert_eq!(forest.place(1, 3), None);
    }

    #[test]
    fn a_single_shared_token_of_two_rows_is_not_worth_a_node() {
        assert_eq!(Forest::new(&[&[1, 2, 3], &[1, 4, 5]]).nodes.len(), 2);
        assert_eq!(Forest::new(&[&[1, 2, 3], &[1, 4], &[1, 5]]).nodes.len(), 4);
        assert_eq!(Forest::new(&[&[1, 2], &[1]]).tokens.len(), 3);
    }

    #[test]
    fn every_row_is_whole_and_every_position_found() {
        let mut state = 7_u32;
        let mut next = |n: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) % n
        };
        for _ in 0..200 {
            let rows: Vec<Vec<u32>> = (0..1 + next(12))
                .map(|_| (0..next(9)).map(|_| next(2)).collect())
                .collect();
            let views: Vec<&[u32]> = rows.iter().map(Vec::as_slice).collect();
            let forest = Forest::new(&views);
            for (i, row) in rows.iter().enumerate() {
                assert_eq!(read(&forest, i), *row);
                for (position, token) in row.iter().enumerate() {
                    let place = forest.place(i, position).unwrap();
                    assert_eq!(forest.tokens[place], *token);
                    assert_eq!(forest.positions[place], position);
                }
            }
            assert!(forest.tokens.len() <= rows.iter().map(Vec::len).sum());
            let parents = forest.nodes.iter().enumerate();
            assert!(
                parents
                    .clone()
                    .all(|(i, node)| node.len > 0 && node.parent < Some(i))
            );
        }
    }
}
