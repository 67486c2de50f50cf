//! Pictures of the rows: what a packet costs by its size, and by how many SAs or rules there are.

use plotters::coord::ranged1d::ValueFormatter;
use plotters::prelude::*;

use crate::rows::{Direction, Row, Size};

/// Width and height in pixels.
const EXTENT: (u32, u32) = (760, 440);
const FONT: &str = "sans-serif";
const COLOURS: [RGBColor; 6] = [
    RGBColor(0x1f, 0x77, 0xb4),
    RGBColor(0xd6, 0x27, 0x28),
    RGBColor(0x7f, 0x7f, 0x7f),
    RGBColor(0x2c, 0xa0, 0x2c),
    RGBColor(0x94, 0x67, 0xbd),
    RGBColor(0x8c, 0x56, 0x4b),
];

/// A name and its points.
struct Series {
    name: String,
    points: Vec<(f64, f64)>,
}

/// What everything that is compared has in common.
const ALG: &str = "aes128gcm16";

/// Cost of a packet by its size, with one SA. `None` where there is nothing to draw.
pub(crate) fn cost_by_size(rows: &[Row]) -> Result<Option<String>, String> {
    let with_one = |row: &&Row| (row.sas, row.levels) == (Some(1), Some(1));
    let of = |dir, checks: bool, figure: fn(&Row) -> Option<f64>, name: &str| {
        let chosen = whole_path(rows).filter(with_one);
        let chosen =
            chosen.filter(|row| row.dir == Some(dir) && row.window.is_none_or(|w| (w > 0) == checks));
        let points = chosen.filter_map(|row| match row.size {
            Some(Size::Octets(octets)) => Some((f64::from(octets), figure(row)?)),
            _ => None,
        });
        sorted(name, points.collect())
    };
    let all = [
        of(Direction::Encrypt, true, |row| row.cycles_per_packet, "encrypt"),
        of(Direction::Decrypt, true, |row| row.cycles_per_packet, "decrypt"),
        of(Direction::Encrypt, true, |row| row.ring_seal_cycles, "one bare seal by ring"),
        of(Direction::Encrypt, true, |row| row.bound, "bound, encrypt"),
        of(Direction::Decrypt, true, |row| row.bound, "bound, decrypt"),
    ];
    let labels = ("Cost of a packet by its size, one core, AES-128-GCM", "octets of the inner packet");
    drawn(&all, labels, Scale::Even)
}

/// Cost of the smallest packets by the number of SAs, and of a rule match by the number of rules.
pub(crate) fn cost_by_sas_and_rules(rows: &[Row]) -> Result<Option<String>, String> {
    let by_sas = |dir, name: &str| {
        let chosen = whole_path(rows).filter(|row| row.levels == Some(1) && row.dir == Some(dir));
        let chosen = chosen.filter(|row| row.size == Some(Size::Octets(64)) && row.window != Some(0));
        let points = chosen.filter_map(|row| Some((f64::from(row.sas?), row.cycles_per_packet?)));
        sorted(name, points.collect())
    };
    let mut all = vec![
        by_sas(Direction::Encrypt, "encrypt 64 B, by SAs"),
        by_sas(Direction::Decrypt, "decrypt 64 B, by SAs"),
    ];
    all.extend(by_rules(rows));
    let labels = ("Cost by the number of SAs and of rules, one core", "SAs, or rules");
    drawn(&all, labels, Scale::Powers)
}

/// One series for each family of rule sets: their names differ by what stands behind the last underscore or dash.
fn by_rules(rows: &[Row]) -> Vec<Series> {
    let mut families: Vec<(String, Vec<(f64, f64)>)> = Vec::new();
    for row in rows.iter().filter(|row| row.name == "rules") {
        let (Some(count), Some(cycles)) = (row.rules, row.cycles_per_packet) else { continue };
        // Sets have names of one word; more words are another question about the same set.
        let Some(variant) = row.variant.as_deref().filter(|variant| !variant.contains(' ')) else { continue };
        let family = variant.rsplit_once(['_', '-']).map_or(variant, |(family, _)| family).to_owned();
        let point = (f64::from(count), cycles);
        match families.iter_mut().find(|(name, _)| *name == family) {
            Some((_, points)) => points.push(point),
            None => families.push((family, vec![point])),
        }
    }
    families.into_iter().map(|(family, points)| sorted(&format!("rule match, {family}"), points)).collect()
}

fn whole_path(rows: &[Row]) -> impl Iterator<Item = &Row> {
    rows.iter().filter(|row| row.name == "whole-path" && row.alg.as_deref() == Some(ALG))
}

fn sorted(name: &str, mut points: Vec<(f64, f64)>) -> Series {
    points.sort_by(|one, other| one.0.total_cmp(&other.0));
    Series { name: name.to_owned(), points }
}

/// How the horizontal axis is divided.
#[derive(Clone, Copy)]
enum Scale {
    Even,
    Powers,
}

fn drawn(all: &[Series], labels: (&str, &str), scale: Scale) -> Result<Option<String>, String> {
    let points = || all.iter().flat_map(|series| series.points.iter().copied());
    let right = points().map(|(x, _)| x).fold(0.0, f64::max);
    let top = points().map(|(_, y)| y).fold(0.0, f64::max) * 1.15;
    if points().count() < 2 || right <= 0.0 || top <= 0.0 {
        return Ok(None);
    }
    let mut picture = String::new();
    match scale {
        Scale::Even => draw(&mut picture, all, labels, 0.0..right * 1.05, top),
        Scale::Powers => draw(&mut picture, all, labels, (0.7..right * 1.5).log_scale(), top),
    }
    .map(|()| Some(picture))
}

fn draw<X>(
    picture: &mut String,
    all: &[Series],
    (title, horizontal): (&str, &str),
    range: X,
    top: f64,
) -> Result<(), String>
where
    X: plotters::coord::ranged1d::AsRangedCoord<Value = f64>,
    X::CoordDescType: ValueFormatter<f64>,
{
    let failed = |error: &dyn std::fmt::Display| format!("a picture: {error}");
    let area = SVGBackend::with_string(picture, EXTENT).into_drawing_area();
    area.fill(&WHITE).map_err(|error| failed(&error))?;
    let mut chart = ChartBuilder::on(&area)
        .caption(title, (FONT, 18))
        .margin(12)
        .x_label_area_size(42)
        .y_label_area_size(56)
        .build_cartesian_2d(range, 0.0..top)
        .map_err(|error| failed(&error))?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .x_desc(horizontal)
        .y_desc("TSC cycles")
        .x_label_formatter(&|x| format!("{x:.0}"))
        .y_label_formatter(&|y| format!("{y:.0}"))
        .label_style((FONT, 13))
        .draw()
        .map_err(|error| failed(&error))?;
    for (at, series) in all.iter().filter(|series| !series.points.is_empty()).enumerate() {
        let colour = COLOURS[at % COLOURS.len()];
        let width = if series.name.starts_with("bound") { 1 } else { 2 };
        chart
            .draw_series(
                LineSeries::new(series.points.iter().copied(), colour.stroke_width(width)).point_size(3),
            )
            .map_err(|error| failed(&error))?
            .label(&series.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(width)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .label_font((FONT, 13))
        .draw()
        .map_err(|error| failed(&error))?;
    area.present().map_err(|error| failed(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(dir: Direction, octets: u16, sas: u32, cycles: f64) -> Row {
        Row {
            name: "whole-path".to_owned(),
            alg: Some(ALG.to_owned()),
            dir: Some(dir),
            size: Some(Size::Octets(octets)),
            sas: Some(sas),
            levels: Some(1),
            window: (dir == Direction::Decrypt).then_some(1024),
            cycles_per_packet: Some(cycles),
            ring_seal_cycles: Some(2.0 * cycles),
            ..Row::default()
        }
    }

    #[test]
    fn every_series_that_has_rows_is_in_the_picture_and_the_same_rows_are_the_same_picture() {
        let rows = [
            row(Direction::Encrypt, 64, 1, 70.0),
            row(Direction::Encrypt, 1420, 1, 200.0),
            row(Direction::Decrypt, 64, 1, 90.0),
            row(Direction::Decrypt, 1420, 1, 250.0),
        ];
        let picture = cost_by_size(&rows).unwrap().unwrap();
        for word in ["<svg", "encrypt", "decrypt", "ring", "octets of the inner packet"] {
            assert!(picture.contains(word), "{word}");
        }
        assert!(!picture.contains("bound"));
        assert_eq!(cost_by_size(&rows).unwrap().unwrap(), picture);
    }

    #[test]
    fn sas_and_rules_share_a_picture_and_other_questions_are_not_in_it() {
        let mut rows = vec![row(Direction::Encrypt, 64, 1, 70.0), row(Direction::Encrypt, 64, 1000, 90.0)];
        let rules = |variant: &str, count| Row {
            name: "rules".to_owned(),
            variant: Some(variant.to_owned()),
            rules: Some(count),
            cycles_per_packet: Some(60.0),
            ..Row::default()
        };
        rows.extend([rules("acl1_1k", 1000), rules("acl1_10k", 10_000)]);
        rows.push(rules("other_1k scan", 1000));
        let picture = cost_by_sas_and_rules(&rows).unwrap().unwrap();
        assert!(picture.contains("rule match, acl1") && picture.contains("by SAs"));
        assert!(!picture.contains("other"));
    }

    #[test]
    fn nothing_is_drawn_of_nothing() {
        assert_eq!(cost_by_size(&[]).unwrap(), None);
        assert_eq!(cost_by_sas_and_rules(&[row(Direction::Encrypt, 64, 1, 70.0)]).unwrap(), None);
    }
}
