// covey.hpp - covey.h for C++17: handles that free themselves, spans, ranges, exceptions.
//
//     covey::Model model("covey-nano.gguf");
//     covey::Session session(model);
//     while (camera.read(image)) session.push(covey::rgb(image.data(), width, height));
//     session.finish();
//     for (covey::Result &result : session.results())
//         for (const covey_object &thing : result.objects())
//             show(thing.id, result.labels());
//
// Nothing is computed here, and there is no other library: everything is a call of covey.h,
// which is the reference manual (arguments, errors, threads).  Structs are those of covey.h;
// covey::sized<covey_session_options>() makes one with everything at its default.
//
// ERRORS     Calls throw covey::Error, which carries the status and what covey_last_error()
//            said.  Those that may fail in the course of things have a twin that does not
//            throw: try_push, try_finish, try_next return the status.
// OWNERSHIP  Handles are moved, not copied.  What is moved from is empty: only assigning,
//            freeing and `operator bool` are left.  Spans are borrowed, from the result or
//            model that they were asked of.
#ifndef COVEY_HPP
#define COVEY_HPP

#include <covey.h>

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#if __has_include(<opencv2/core/mat.hpp>)
#  include <opencv2/core/mat.hpp>
#  define COVEY_HAS_OPENCV 1
#endif

namespace covey {

class Error : public std::runtime_error {
public:
    Error(covey_status status, const std::string &message)
        : std::runtime_error(message), status_(status) {}
    covey_status status() const noexcept { return status_; }

private:
    covey_status status_;
};

/// The status of a call that did not fail: COVEY_OK, COVEY_AGAIN or COVEY_END.
inline covey_status check(covey_status status)
{
    if (status >= 0) return status;
    const char *details = covey_last_error();
    throw Error(status, *details ? details : covey_status_string(status));
}

/// Any of the structs that begin with struct_size, at its defaults.
template <typename Struct> Struct sized()
{
    Struct value{};
    value.struct_size = sizeof value;
    return value;
}

/// Elements that belong to another: std::span, before C++20.
template <typename Element> class Span {
public:
    Span() = default;
    Span(const Element *data, std::size_t size) : data_(data), size_(size) {}
    const Element *data() const noexcept { return data_; }
    std::size_t size() const noexcept { return size_; }
    bool empty() const noexcept { return size_ == 0; }
    const Element *begin() const noexcept { return data_; }
    const Element *end() const noexcept { return data_ + size_; }
    const Element &operator[](std::size_t index) const { return data_[index]; }

private:
    const Element *data_ = nullptr;
    std::size_t size_ = 0;
};

/// [rows, columns, channels], row by row.
template <typename Element> struct Grid : Span<Element> {
    Grid() = default;
    Grid(const Element *data, std::int32_t height, std::int32_t width, std::int32_t depth = 1)
        : Span<Element>(data, data ? std::size_t(height) * std::size_t(width) * std::size_t(depth)
                                   : 0),
          rows(height), columns(width), channels(depth)
    {
    }
    const Element &at(std::int32_t row, std::int32_t column, std::int32_t channel = 0) const
    {
        return (*this)[(std::size_t(row) * std::size_t(columns) + std::size_t(column)) *
                           std::size_t(channels) + std::size_t(channel)];
    }

    std::int32_t rows = 0, columns = 0, channels = 1;
};

namespace detail {
struct Free {
    void operator()(covey_model *model) const noexcept { covey_model_free(model); }
    void operator()(covey_session *session) const noexcept { covey_session_free(session); }
    void operator()(covey_result *result) const noexcept { covey_result_free(result); }
};

/// What all handles have.
template <typename Handle> class Owner {
public:
    Handle *get() const noexcept { return handle_.get(); }
    explicit operator bool() const noexcept { return static_cast<bool>(handle_); }

protected:
    Owner() = default;
    explicit Owner(Handle *owned) : handle_(owned) {}
    void own(Handle *handle) { handle_.reset(handle); }

private:
    std::unique_ptr<Handle, Free> handle_;
};
} // namespace detail

// ---- Frames -------------------------------------------------------------------

/// Packed pixels or GRAY8; `stride` in bytes, 0: rows without padding.
inline covey_frame packed(covey_pixel_format format, const std::uint8_t *pixels, int width,
                          int height, std::ptrdiff_t stride = 0, std::int64_t timestamp = 0)
{
    covey_frame frame = sized<covey_frame>();
    frame.format = format;
    frame.width = width;
    frame.height = height;
    frame.planes[0] = pixels;
    frame.strides[0] = stride;
    frame.timestamp = timestamp;
    return frame;
}

inline covey_frame rgb(const std::uint8_t *pixels, int width, int height,
                       std::ptrdiff_t stride = 0, std::int64_t timestamp = 0)
{
    return packed(COVEY_PIXEL_RGB8, pixels, width, height, stride, timestamp);
}

/// As cameras and decoders give it: brightness, then both colours, interleaved.
inline covey_frame nv12(const std::uint8_t *y, const std::uint8_t *uv, int width, int height,
                        std::ptrdiff_t y_stride = 0, std::ptrdiff_t uv_stride = 0,
                        std::int64_t timestamp = 0)
{
    covey_frame frame = packed(COVEY_PIXEL_NV12, y, width, height, y_stride, timestamp);
    frame.planes[1] = uv;
    frame.strides[1] = uv_stride;
    return frame;
}

#ifdef COVEY_HAS_OPENCV
/// OpenCV's images: BGR, BGRA or gray of 8 bits; borrowed.
inline covey_frame frame(const cv::Mat &image, std::int64_t timestamp = 0)
{
    covey_pixel_format format;
    switch (image.type()) {
    case CV_8UC1: format = COVEY_PIXEL_GRAY8; break;
    case CV_8UC3: format = COVEY_PIXEL_BGR8; break;
    case CV_8UC4: format = COVEY_PIXEL_BGRA8; break;
    default:
        throw Error(COVEY_ERROR_ARGUMENT, "image: expected CV_8UC1, CV_8UC3 or CV_8UC4, found type " +
                                              std::to_string(image.type()));
    }
    return packed(format, image.data, image.cols, image.rows,
                  static_cast<std::ptrdiff_t>(image.step), timestamp);
}
#endif

// ---- Model --------------------------------------------------------------------

class Model : public detail::Owner<covey_model> {
public:
    explicit Model(const std::string &path, const covey_model_options *options = nullptr)
    {
        covey_model *model = nullptr;
        check(covey_model_load(path.c_str(), options, &model));
        own(model);
    }

    /// The bytes must outlive the model and its sessions, unless read_into_memory is set.
    Model(const void *data, std::size_t size, const covey_model_options *options = nullptr)
    {
        covey_model *model = nullptr;
        check(covey_model_load_memory(data, size, options, &model));
        own(model);
    }

    covey_model_info info() const
    {
        covey_model_info info = sized<covey_model_info>();
        check(covey_model_get_info(get(), &info));
        return info;
    }

    std::vector<std::pair<std::string, std::string>> metadata() const
    {
        std::vector<std::pair<std::string, std::string>> entries;
        for (std::size_t index = 0; index < covey_model_metadata_count(get()); index++) {
            const char *key = nullptr, *value = nullptr;
            check(covey_model_metadata_at(get(), index, &key, &value));
            entries.emplace_back(key, value);
        }
        return entries;
    }

    void save(const std::string &path, covey_dtype dtype) const
    {
        check(covey_model_save(get(), path.c_str(), dtype));
    }

    /// An upper bound of what a session needs for so many frames.
    covey_memory estimate(int width, int height, std::int64_t frames,
                          const covey_session_options *options = nullptr) const
    {
        covey_memory memory = sized<covey_memory>();
        check(covey_estimate_memory(get(), options, width, height, frames, &memory));
        return memory;
    }
};

// ---- Result -------------------------------------------------------------------

/// One frame.  Depends on nothing: it may outlive its session.
class Result : public detail::Owner<covey_result> {
public:
    Result() = default;
    explicit Result(covey_result *owned) : Owner(owned) {}

    covey_result_info info() const
    {
        covey_result_info info = sized<covey_result_info>();
        check(covey_result_get_info(get(), &info));
        return info;
    }

    /// Those in this frame, by decreasing area.
    std::vector<covey_object> objects() const
    {
        std::vector<covey_object> objects(static_cast<std::size_t>(info().object_count),
                                          sized<covey_object>());
        std::size_t count = 0;
        check(covey_result_get_objects(get(), objects.data(), objects.size(), &count));
        return objects;
    }

    /// [height, width] ids; 0 is background.
    Grid<std::uint16_t> labels() const
    {
        const covey_result_info size = info();
        return {covey_result_labels(get()), size.height, size.width};
    }

    /// [rows, columns] of patches: how sure their labels are.
    Grid<float> confidence() const
    {
        std::int32_t rows = 0, columns = 0;
        const float *values = covey_result_get_confidence(get(), &rows, &columns);
        return {values, rows, columns};
    }

    /// [rows, columns, 2] of patches: x, y in pixels since the frame before.
    Grid<float> motion() const
    {
        std::int32_t rows = 0, columns = 0;
        const float *values = covey_result_get_motion(get(), &rows, &columns);
        return {values, rows, columns, 2};
    }

    /// COCO's run lengths of the mask of one id.
    std::vector<std::uint32_t> run_lengths(std::int32_t id) const
    {
        std::size_t count = 0;
        const covey_status status = covey_result_get_rle(get(), id, nullptr, 0, &count);
        if (status != COVEY_ERROR_CAPACITY) check(status);
        std::vector<std::uint32_t> counts(count);
        check(covey_result_get_rle(get(), id, counts.data(), counts.size(), &count));
        return counts;
    }

    struct Point {
        float x, y;
    };

    /// The closed outlines of the mask of one id, holes the other way round.
    std::vector<std::vector<Point>> outlines(std::int32_t id, float tolerance = 1) const
    {
        std::size_t points = 0, rings = 0;
        const covey_status status = covey_result_get_polygons(get(), id, tolerance, nullptr, 0,
                                                              &points, nullptr, 0, &rings);
        if (status != COVEY_ERROR_CAPACITY) check(status);
        std::vector<float> xy(2 * points);
        std::vector<std::uint32_t> ends(rings);
        check(covey_result_get_polygons(get(), id, tolerance, xy.data(), points, &points,
                                        ends.data(), rings, &rings));
        std::vector<std::vector<Point>> outlines(rings);
        std::size_t at = 0;
        for (std::size_t ring = 0; ring < rings; ring++)
            for (; at < ends[ring]; at++) outlines[ring].push_back({xy[2 * at], xy[2 * at + 1]});
        return outlines;
    }

#ifdef COVEY_HAS_OPENCV
    /// The labels as CV_16UC1, borrowed.
    cv::Mat mat() const
    {
        const Grid<std::uint16_t> ids = labels();
        return cv::Mat(ids.rows, ids.columns, CV_16UC1,
                       const_cast<std::uint16_t *>(ids.data()));
    }
#endif
};

// ---- Session ------------------------------------------------------------------

/// One video.  Keeps its model alive.
class Session : public detail::Owner<covey_session> {
public:
    explicit Session(const Model &model, const covey_session_options *options = nullptr)
    {
        covey_session *session = nullptr;
        check(covey_session_create(model.get(), options, &session));
        own(session);
    }
    Session(const Model &model, const covey_session_options &options) : Session(model, &options) {}

    void push(const covey_frame &frame) { check(try_push(frame)); }
    [[nodiscard]] covey_status try_push(const covey_frame &frame)
    {
        return covey_session_push(get(), &frame);
    }

    void finish() { check(try_finish()); }
    [[nodiscard]] covey_status try_finish() { return covey_session_finish(get()); }

    /// The next frame's; empty where there is none yet, or none any more.
    Result next()
    {
        Result result;
        check(try_next(result));
        return result;
    }
    [[nodiscard]] covey_status try_next(Result &result)
    {
        covey_result *owned = nullptr;
        const covey_status status = covey_session_next(get(), &owned);
        result = Result(owned);
        return status;
    }

    class Results;
    /// Those that are there, for a range-based for: after finish all, of a stream after each
    /// push what became ready.
    Results results();

    void reset() { check(covey_session_reset(get())); }
    void recut(float tau, std::int32_t target_clusters = 0)
    {
        check(covey_session_recut(get(), tau, target_clusters));
    }
    /// From any thread.
    void cancel() noexcept { covey_session_cancel(get()); }

    covey_memory memory() const
    {
        covey_memory memory = sized<covey_memory>();
        check(covey_session_get_memory(get(), &memory));
        return memory;
    }
};

class Session::Results {
public:
    class Iterator {
    public:
        using iterator_category = std::input_iterator_tag;
        using value_type = Result;
        using difference_type = std::ptrdiff_t;
        using pointer = Result *;
        using reference = Result &;

        Iterator() = default;
        explicit Iterator(Session *session) : session_(session) { ++*this; }
        reference operator*() { return result_; }
        pointer operator->() { return &result_; }
        Iterator &operator++()
        {
            result_ = session_->next();
            if (!result_) session_ = nullptr;
            return *this;
        }
        friend bool operator==(const Iterator &a, const Iterator &b)
        {
            return a.session_ == b.session_;
        }
        friend bool operator!=(const Iterator &a, const Iterator &b) { return !(a == b); }

    private:
        Session *session_ = nullptr;
        Result result_;
    };

    explicit Results(Session &session) : session_(&session) {}
    Iterator begin() { return Iterator(session_); }
    Iterator end() { return Iterator(); }

private:
    Session *session_;
};

inline Session::Results Session::results() { return Results(*this); }

} // namespace covey

#endif // COVEY_HPP
