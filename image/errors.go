package image

import "errors"

// What a caller may want to tell apart; compare with errors.Is.
var (
	// ErrNotFound says that no image has the name or digest asked for.
	ErrNotFound = errors.New(`no such image here ("cocker image ls" lists what there is, "cocker image pull" and "cocker image import" add one)`)
	// ErrIncomplete says that the store lacks a part of an image it names.
	ErrIncomplete = errors.New(`the image is incomplete ("cocker system check --repair" mends what can be mended, and says what cannot)`)
	// ErrInUse says that a running container stands on a layer to be removed.
	ErrInUse = errors.New("a running container uses the image")
	// ErrAmbiguous says that a name without a tag fits more than one image.
	ErrAmbiguous = errors.New("the name has several tags, say which one")
	// ErrVanished says that somebody has removed what a transaction counted on.
	ErrVanished = errors.New("a layer that was here has been removed meanwhile")
	// ErrBadReference says that a text is not the name of an image.
	ErrBadReference = errors.New("not an image name")
)
