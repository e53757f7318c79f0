//! The course of a training run as a picture.

use crate::checkpoint::Course;
use crate::data::Anyhow;
use plotters::prelude::*;
use std::path::Path;

const INK: RGBColor = RGBColor(38, 38, 44);
const GRID: RGBColor = RGBColor(228, 228, 232);
const LOSS: RGBColor = RGBColor(46, 104, 178);
const TEST: RGBColor = RGBColor(206, 92, 36);

/// Means over a window that grows with the run.
fn smooth(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let reach = (points.len() / 60).max(1);
    (0..points.len())
        .map(|i| {
            // as many on both sides, so that ends are not pulled
            let reach = reach.min(i).min(points.len() - 1 - i);
            let part = &points[i - reach..=i + reach];
            (points[i].0, part.iter().map(|p| p.1).sum::<f64>() / part.len() as f64)
        })
        .collect()
}

/// Training loss above, share of test digits read wrongly below, both over epochs.
pub fn plot(path: &Path, course: &Course, title: &str) -> Anyhow<()> {
    let root = SVGBackend::new(path, (860, 620)).into_drawing_area();
    root.fill(&WHITE)?;
    let font = |size: i32| ("sans-serif", size).into_font().color(&INK);
    root.draw_text(title, &font(19), (72, 18))?;
    let (_, body) = root.split_vertically(44);
    let (above, below) = body.split_vertically(330);
    let epochs = course.epochs.len().max(1) as f64;

    let losses: Vec<(f64, f64)> = course.losses.iter().copied().filter(|p| p.1 > 0.0).collect();
    let low = losses.iter().map(|p| p.1).fold(f64::MAX, f64::min).clamp(1e-6, 1.0);
    let high = losses.iter().map(|p| p.1).fold(low * 10.0, f64::max);
    let span = low * 0.8..high * 1.2;
    // 1, 2, 5, 10, ... within the span
    let ticks: Vec<f64> = (-7..4)
        .flat_map(|power| [1.0, 2.0, 5.0].map(|digit| digit * 10f64.powi(power)))
        .filter(|tick| span.contains(tick))
        .collect();
    let mut chart = ChartBuilder::on(&above)
        .margin_left(10)
        .margin_right(28)
        .set_label_area_size(LabelAreaPosition::Left, 62)
        .set_label_area_size(LabelAreaPosition::Bottom, 30)
        .build_cartesian_2d(0.0..epochs, LogCoord::from(span.log_scale()).with_key_points(ticks))?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(INK)
        .x_labels(12)
        .y_labels(12)
        .label_style(font(13))
        .x_label_formatter(&|x| format!("{x:.0}"))
        .y_label_formatter(&|y| trimmed(*y))
        .y_desc("training loss")
        .axis_desc_style(font(14))
        .draw()?;
    chart.draw_series(LineSeries::new(losses.iter().copied(), LOSS.mix(0.25).stroke_width(1)))?;
    chart.draw_series(LineSeries::new(smooth(&losses), LOSS.stroke_width(2)))?;

    let wrong: Vec<(f64, f64)> =
        course.epochs.iter().enumerate().map(|(i, e)| (i as f64 + 1.0, (1.0 - e.accuracy) * 100.0)).collect();
    // the first epochs would press the rest flat
    let tail: Vec<f64> = wrong.iter().map(|p| p.1).skip(wrong.len() / 5).collect();
    let top = (tail.iter().copied().fold(0.0, f64::max) * 1.25).max(2.0);
    let mut chart = ChartBuilder::on(&below)
        .margin_left(10)
        .margin_right(28)
        .margin_top(6)
        .set_label_area_size(LabelAreaPosition::Left, 62)
        .set_label_area_size(LabelAreaPosition::Bottom, 50)
        .build_cartesian_2d(0.0..epochs, 0.0..top)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(INK)
        .x_labels(12)
        .y_labels(5)
        .label_style(font(13))
        .x_label_formatter(&|x| format!("{x:.0}"))
        .y_label_formatter(&|y| format!("{} %", trimmed(*y)))
        .x_desc("epoch")
        .y_desc("test error")
        .axis_desc_style(font(14))
        .draw()?;
    let seen = || wrong.iter().copied().filter(|p| p.1 <= top);
    chart.draw_series(LineSeries::new(seen(), TEST.stroke_width(2)))?;
    chart.draw_series(seen().map(|p| Circle::new(p, 3, TEST.filled())))?;
    if let Some(&(x, y)) = wrong.last() {
        let label = format!("{} %", trimmed((y * 100.0).round() / 100.0));
        // above what the curve did of late
        let late = wrong.iter().rev().take(wrong.len() / 10 + 1).map(|p| p.1).fold(y, f64::max);
        let place = chart.backend_coord(&(x, late.min(top)));
        root.draw_text(&label, &font(14).color(&TEST), (place.0 - 46, (place.1 - 24).max(46 + 330)))?;
    }
    root.present()?;
    Ok(())
}

/// A number without needless digits.
fn trimmed(x: f64) -> String {
    let text = format!("{x:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}
