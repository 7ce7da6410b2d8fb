//! Several objectives at once: who dominates whom, in what order to prefer, and how good a front is.
//!
//! Every objective is to be small. Fronts are those of non-dominated sorting (Deb et al. 2002,
//! NSGA-II). Within a front trials are ordered by the ε-net of multi-objective ASHA (Schmucker et
//! al. 2021, arXiv 2106.12639): first the one with the best first objective, then always the one
//! farthest from all that were taken, so that the first few cover the front.

/// Whether `a` is at least as good as `b` everywhere and better somewhere.
pub fn dominates(a: &[f64], b: &[f64]) -> bool {
    let pairs = || a.iter().zip(b);
    pairs().all(|(a, b)| a <= b) && pairs().any(|(a, b)| a < b)
}

/// The fronts of `points`, best first, as indices in ascending order: nothing in a front is dominated by
/// anything in it or in a later one.
pub fn fronts(points: &[Vec<f64>]) -> Vec<Vec<usize>> {
    fronts_by(points.len(), &|a, b| dominates(&points[a], &points[b]))
}

/// The fronts of `count` points, of which `dominates` says whether the first beats the second.
///
/// Where values are only known within a spread, "no worse" is not transitive, and points may beat each other
/// in a circle; those are one front.
pub fn fronts_by(count: usize, dominates: &dyn Fn(usize, usize) -> bool) -> Vec<Vec<usize>> {
    let mut left: Vec<usize> = (0..count).collect();
    let mut fronts = Vec::new();
    while !left.is_empty() {
        let beaten = |index: &usize| left.iter().any(|by| dominates(*by, *index));
        let (mut later, mut front): (Vec<usize>, Vec<usize>) =
            left.iter().partition(|index| beaten(index));
        if front.is_empty() {
            front = std::mem::take(&mut later);
        }
        fronts.push(front);
        left = later;
    }
    fronts
}

/// Keys of `entries` by preference. With one objective that is its order, ties by key; entries whose
/// first objective is infinite come last.
pub fn order(entries: &[(usize, Vec<f64>)]) -> Vec<usize> {
    let single = entries.iter().all(|(_, values)| values.len() <= 1);
    if single {
        let mut sorted: Vec<(f64, usize)> = entries
            .iter()
            .map(|(key, values)| (values.first().copied().unwrap_or(f64::INFINITY), *key))
            .collect();
        sorted.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        return sorted.into_iter().map(|(_, key)| key).collect();
    }
    let (sound, lost): (Vec<_>, Vec<_>) =
        (entries.iter()).partition(|(_, values)| values.iter().all(|value| value.is_finite()));
    let points: Vec<Vec<f64>> = sound.iter().map(|(_, values)| values.clone()).collect();
    let scaled = scaled(&points);
    let mut ordered = Vec::with_capacity(entries.len());
    for front in fronts(&points) {
        ordered.extend(net(&front, &scaled).into_iter().map(|index| sound[index].0));
    }
    ordered.extend(lost.iter().map(|(key, _)| *key));
    ordered
}

/// Each objective stretched to 0..1 over the points; positive ones by their logarithm, because sizes
/// compare by ratio.
fn scaled(points: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let count = points.first().map_or(0, Vec::len);
    let mut out = vec![Vec::with_capacity(count); points.len()];
    for objective in 0..count {
        let positive = points.iter().all(|point| point[objective] > 0.0);
        let value = |point: &Vec<f64>| match positive {
            true => point[objective].ln(),
            false => point[objective],
        };
        let values: Vec<f64> = points.iter().map(value).collect();
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let span = if high > low { high - low } else { 1.0 };
        for (row, value) in out.iter_mut().zip(values) {
            row.push((value - low) / span);
        }
    }
    out
}

/// A front in the order of its ε-net.
fn net(front: &[usize], points: &[Vec<f64>]) -> Vec<usize> {
    let mut left = front.to_vec();
    left.sort_by(|a, b| points[*a][0].total_cmp(&points[*b][0]).then(a.cmp(b)));
    let mut taken: Vec<usize> = Vec::with_capacity(left.len());
    while !left.is_empty() {
        let gap = |index: usize| {
            let distance = |other: &usize| {
                let pairs = points[index].iter().zip(&points[*other]);
                pairs.map(|(a, b)| (a - b) * (a - b)).sum::<f64>()
            };
            taken.iter().map(distance).fold(f64::INFINITY, f64::min)
        };
        let mut best = 0;
        for place in 1..left.len() {
            if gap(left[place]) > gap(left[best]) {
                best = place;
            }
        }
        taken.push(left.remove(best));
    }
    taken
}

/// Volume between the points and `reference`, which is worse than all of them: the larger, the better
/// the front. Points that are not better than the reference everywhere add nothing.
///
/// Computed by slicing along the last objective: exact, and quick for the few objectives of a search.
pub fn hypervolume(points: &[Vec<f64>], reference: &[f64]) -> f64 {
    let inside = |point: &&Vec<f64>| {
        point
            .iter()
            .zip(reference)
            .all(|(value, worst)| value < worst)
    };
    let mut points: Vec<&Vec<f64>> = points.iter().filter(inside).collect();
    let Some(last) = reference.len().checked_sub(1) else {
        return 0.0;
    };
    if last == 0 {
        let best = points
            .iter()
            .map(|point| point[0])
            .fold(reference[0], f64::min);
        return reference[0] - best;
    }
    points.sort_by(|a, b| a[last].total_cmp(&b[last]));
    let mut volume = 0.0;
    for (index, point) in points.iter().enumerate() {
        let next = points
            .get(index + 1)
            .map_or(reference[last], |next| next[last]);
        let slice: Vec<Vec<f64>> = (points[..=index].iter())
            .map(|point| point[..last].to_vec())
            .collect();
        volume += hypervolume(&slice, &reference[..last]) * (next - point[last]);
    }
    volume
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_front_and_its_volume() {
        let points = [[1.0, 4.0], [2.0, 2.0], [4.0, 1.0], [3.0, 3.0], [2.0, 2.0]];
        let points: Vec<Vec<f64>> = points.iter().map(|point| point.to_vec()).collect();
        assert_eq!(fronts(&points), [vec![0, 1, 2, 4], vec![3]]);
        // (5-1)(5-4) + (5-2)(4-2) + (5-4)(2-1)
        assert_eq!(hypervolume(&points, &[5.0, 5.0]), 11.0);
        let cube = vec![vec![0.0, 0.0, 0.0]];
        assert_eq!(hypervolume(&cube, &[2.0, 3.0, 4.0]), 24.0);
        assert_eq!(hypervolume(&points, &[0.5, 9.0]), 0.0);
    }

    #[test]
    fn the_ends_of_a_front_come_before_its_middle_and_the_lost_last() {
        let entry = |key, loss, size| (key, vec![loss, size]);
        let entries = [
            entry(0, 2.0, 20.0),
            entry(1, 1.0, 100.0),
            entry(2, 2.1, 19.0),
            entry(3, 3.0, 10.0),
            entry(4, f64::INFINITY, 1.0),
            entry(5, 3.1, 101.0),
        ];
        let ordered = order(&entries);
        assert_eq!(ordered[..2], [1, 3]);
        assert_eq!(ordered[4..], [5, 4]);
    }

    fn points() -> impl Strategy<Value = Vec<Vec<f64>>> {
        let value = (0_u32..20).prop_map(f64::from);
        prop::collection::vec(prop::collection::vec(value, 3), 1..12)
    }

    proptest! {
        #[test]
        fn fronts_are_a_partition_in_order_of_dominance(points in points()) {
            let fronts = fronts(&points);
            let mut all: Vec<usize> = fronts.iter().flatten().copied().collect();
            all.sort_unstable();
            prop_assert_eq!(all, (0..points.len()).collect::<Vec<_>>());
            for (place, front) in fronts.iter().enumerate() {
                for a in front {
                    for b in front {
                        prop_assert!(!dominates(&points[*a], &points[*b]));
                    }
                    if place > 0 {
                        prop_assert!(
                            fronts[place - 1].iter().any(|b| dominates(&points[*b], &points[*a]))
                        );
                    }
                }
            }
        }

        #[test]
        fn volume_counts_dominated_cells(points in points()) {
            // On whole numbers the volume is the number of unit cells that some point dominates.
            let mut cells = 0;
            for x in 0..20 {
                for y in 0..20 {
                    for z in 0..20 {
                        let corner = [f64::from(x), f64::from(y), f64::from(z)];
                        let under = |p: &Vec<f64>| p.iter().zip(&corner).all(|(p, c)| p <= c);
                        cells += u32::from(points.iter().any(under));
                    }
                }
            }
            let volume = hypervolume(&points, &[20.0, 20.0, 20.0]);
            prop_assert!((volume - f64::from(cells)).abs() < 1e-6);
        }
    }
}
